//! What is set at run time: orders about reals, and the deadlines of drains.

use std::time::SystemTime;

use tracing::{info, warn};

use super::Controller;
use crate::agent::kept;
use crate::api::{Done, Order};

impl Controller {
    /// Carries an order out; the maps follow before it is answered that it is done.
    pub(super) async fn obey(&mut self, order: &Order) -> Result<Done, String> {
        let before = self.model.overrides.clone();
        let mut said = self.model.overrides.obey(order, &self.model.config, SystemTime::now())?;
        if let Err(error) = self.write_now().await {
            self.model.overrides = before;
            self.settle();
            return Err(format!("the maps can't be written, so that nothing has changed: {error:#}"));
        }
        said.iter().for_each(|line| info!("{line}"));
        self.tell_changes(Some(&format!("`lb {}`", order.verb())));
        self.tell_routers();
        if self.model.overrides != before
            && let Some(fault) = self.keep_overrides()
        {
            said.push(fault);
        }
        if said.is_empty() {
            said.push("nothing was set at run time".to_owned());
        }
        said.extend(self.without_reals());
        Ok(Done::new(said.join("\n")))
    }

    /// Writes down what was set. Returns why it can't be, in words.
    pub(super) fn keep_overrides(&self) -> Option<String> {
        let error = kept::write(&self.model.overrides).err()?;
        let fault = format!("it is in force, but will not outlive the agent: {}: {error}", kept::path().display());
        warn!("{fault}");
        Some(fault)
    }

    /// Ends the drains whose deadline has come. Whether any did.
    pub(super) fn expire_drains(&mut self) -> bool {
        let now = SystemTime::now();
        let set = self.model.overrides.expire(now);
        let left = self.model.draining.expire(now);
        for real in &set {
            info!("{real}: its drain's deadline has come: it takes nothing any more (`lb undrain` ends that)");
        }
        for real in &left {
            info!("real {real}, which left the file: its drain's deadline has come: its connections are given up");
        }
        !set.is_empty() || !left.is_empty()
    }

    /// Services that new connections find no real of, in words.
    fn without_reals(&self) -> Vec<String> {
        let takes_none = |service: &&crate::config::Service| {
            !service.all_reals().any(|real| self.model.share(service, real).takes_new())
        };
        let names = self.model.config.services.iter().filter(takes_none);
        names.map(|service| format!("note: {} has no real for new connections now", service.name)).collect()
    }
}
