//! The text that Prometheus reads, in its own format (version 0.0.4) and in OpenMetrics (1.0.0).
//!
//! The two differ in what counters are called in their headers, in what an absent unit is, and in the last line.
//! Source: prometheus.io/docs/instrumenting/exposition_formats, and the OpenMetrics specification.

use std::fmt::{Display, Write as _};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format.
    Prometheus,
    /// OpenMetrics.
    OpenMetrics,
}

impl Format {
    /// What a scraper takes, by its `Accept` header: OpenMetrics where it is named at all, as Prometheus does.
    #[must_use]
    pub fn accepted(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }

    /// The answer's `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a family's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the agent, or the pinned map, lives. Its samples end in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// A text in the making.
#[derive(Debug)]
pub struct Exposition {
    format: Format,
    text: String,
}

impl Exposition {
    /// An empty one.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format, text: String::new() }
    }

    /// Begins a family; its samples follow at once. `name` is without `_total`.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let (word, suffix) = match kind {
            Kind::Counter => ("counter", "_total"),
            Kind::Gauge => ("gauge", ""),
        };
        let header = match self.format {
            Format::Prometheus => suffix,
            Format::OpenMetrics => "",
        };
        let _ = writeln!(self.text, "# HELP {name}{header} {}", escaped(help));
        let _ = writeln!(self.text, "# TYPE {name}{header} {word}");
        Family { name, suffix, text: &mut self.text }
    }

    /// The whole text.
    #[must_use]
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

/// A family whose samples are being written.
#[derive(Debug)]
pub struct Family<'e> {
    name: &'static str,
    suffix: &'static str,
    text: &'e mut String,
}

impl Family<'_> {
    /// A sample; no two of a family have equal labels.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(self.name);
        self.text.push_str(self.suffix);
        for (index, (name, value)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{name}=\"{}\"", escaped(value));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{after} {value}");
    }
}

/// A label's value, or a help text: both formats know these three escapes.
fn escaped(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains(['\\', '"', '\n']) {
        text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(format: Format) -> String {
        let mut exposition = Exposition::new(format);
        exposition.family("lb_packets", Kind::Counter, "Packets").sample(&[("service", "a\"\\\n")], 7);
        exposition.family("lb_up", Kind::Gauge, "Up").sample(&[], 1.5);
        exposition.finish()
    }

    #[test]
    fn the_formats_differ_in_headers_and_in_the_end() {
        assert_eq!(
            text(Format::Prometheus),
            "# HELP lb_packets_total Packets\n# TYPE lb_packets_total counter\n\
             lb_packets_total{service=\"a\\\"\\\\\\n\"} 7\n# HELP lb_up Up\n# TYPE lb_up gauge\nlb_up 1.5\n"
        );
        assert_eq!(
            text(Format::OpenMetrics),
            "# HELP lb_packets Packets\n# TYPE lb_packets counter\n\
             lb_packets_total{service=\"a\\\"\\\\\\n\"} 7\n# HELP lb_up Up\n# TYPE lb_up gauge\nlb_up 1.5\n# EOF\n"
        );
    }

    #[test]
    fn openmetrics_is_for_those_who_ask_for_it() {
        let asked = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        assert_eq!(Format::accepted(Some(asked)), Format::OpenMetrics);
        assert_eq!(Format::accepted(Some("*/*")), Format::Prometheus);
        assert_eq!(Format::accepted(None), Format::Prometheus);
    }
}
