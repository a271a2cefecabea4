//! stub
use super::model::Config;
/// x
pub struct MapMemory {}
/// x
pub fn describe(_: &Config, _: &[MapMemory]) -> String {
    "stub".into()
}
