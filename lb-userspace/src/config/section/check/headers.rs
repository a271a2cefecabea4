//! `headers` of a check: fields of its request besides those that the check sets itself.

use std::fmt;

use hyper::header::{HeaderName, HeaderValue};
use serde_json::{Value as Json, json};
use toml::de::DeValue;

use crate::config::read::value::short;
use crate::config::read::{Kind, Shape, Site, Value};
use crate::config::report::Fault;

/// One header field.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Header {
    /// In lower case.
    pub name: String,
    /// May be a secret.
    pub value: String,
}

impl fmt::Debug for Header {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: …", self.name)
    }
}

/// A table of names and values.
#[derive(Debug, Clone, Copy)]
pub struct Headers;

/// Fields at most, and bytes of them all.
const MOST: (usize, usize) = (32, 8 * 1024);

/// Fields that aren't given by `headers`, and what to do.
const OWN: [(&str, &str); 9] = [
    ("host", "write host = \"www.example.org\" in the check"),
    ("connection", "remove it: each check has a connection of its own"),
    ("keep-alive", "remove it: each check has a connection of its own"),
    ("upgrade", "remove it: a check asks by HTTP alone"),
    ("te", "remove it: a check reads no trailers"),
    ("trailer", "remove it: a check has no body"),
    ("transfer-encoding", "remove it: a check has no body"),
    ("content-length", "remove it: a check has no body"),
    ("expect", "remove it: a check has no body"),
];

impl Kind for Headers {
    type Value = Vec<Header>;

    fn read(&self, mut site: Site<'_>, value: &Value<'_>) -> Option<Vec<Header>> {
        let DeValue::Table(table) = value.get_ref() else {
            let mend = format!("write {} = {}", site.key, site.example);
            site.other_kind(value, "a table", mend);
            return None;
        };
        let mut headers = Vec::new();
        for (name, value) in table {
            let read = match value.get_ref() {
                DeValue::String(text) => header(name.get_ref(), text).map_err(|(of_name, fault)| {
                    site.report(if of_name { name.span() } else { value.span() }, fault);
                }),
                _ => {
                    site.other_kind(value, "a table of strings", "write each value in quotes");
                    continue;
                }
            };
            headers.extend(read.ok());
        }
        let bytes: usize = headers.iter().map(|header: &Header| header.name.len() + header.value.len() + 4).sum();
        if headers.len() > MOST.0 || bytes > MOST.1 {
            let message = format!("these are {} headers of {bytes} bytes", headers.len());
            let mend = format!("leave some out: a check has {} of {} bytes at most", MOST.0, MOST.1);
            site.report(value.span(), Fault::new(message, mend));
        }
        Some(headers)
    }

    fn example(&self) -> String {
        "{ \"X-Check\" = \"lb\" }".to_owned()
    }

    fn values(&self) -> String {
        "a table such as `{ \"X-Check\" = \"lb\" }`".to_owned()
    }

    fn schema(&self) -> Json {
        json!({ "type": "object", "additionalProperties": { "type": "string" } })
    }

    fn shape(&self) -> Shape {
        Shape::Table
    }
}

/// One field; else what is wrong, and whether with its name.
fn header(name: &str, value: &str) -> Result<Header, (bool, Fault)> {
    let read = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
        let message = format!("\"{}\" can't be a header's name", short(name));
        (true, Fault::new(message, "write letters, digits and dashes, such as \"X-Check\""))
    })?;
    let name = read.as_str();
    if let Some((_, mend)) = OWN.iter().find(|(own, _)| *own == name) {
        return Err((true, Fault::new(format!("`{name}` is not given as a header"), *mend)));
    }
    if HeaderValue::from_str(value).is_err() {
        let message = format!("the value of `{name}` can't be sent in a header");
        return Err((false, Fault::new(message, "write visible ASCII and spaces, on one line")));
    }
    Ok(Header { name: name.to_owned(), value: value.to_owned() })
}
