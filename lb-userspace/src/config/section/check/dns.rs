//! `type = "dns"`: a question to a name server, and the answer that is expected to it.

use std::net::IpAddr;

use hickory_proto::rr::{Name, RecordType};

use super::Asks;
use crate::config::read::value::short;
use crate::config::read::{Choice, Keys, Section, Text, key, keys};
use crate::config::report::Fault;
use crate::config::report::text::{WIDTH, clip};

/// A question to a name server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Dns {
    /// What is asked for.
    pub name: String,
    /// Which records of it.
    pub record: RecordType,
    /// The response code that is good (RFC 6895 section 2.3).
    pub rcode: u16,
    /// What one of the records must be, as it is written in a zone's file.
    pub answer: Option<String>,
    /// Asked by TCP, not UDP.
    pub over_tcp: bool,
}

const NAME: Text<String> = Text { read: name, example: "\"www.example.org\"", values: "a name, `\".\"` for the root" };
const ANSWER: Text<String> = Text { read: answer, example: "\"192.0.2.10\"", values: "one record's data" };
const RECORDS: Choice<RecordType> = Choice(&[
    ("A", RecordType::A),
    ("AAAA", RecordType::AAAA),
    ("CNAME", RecordType::CNAME),
    ("MX", RecordType::MX),
    ("NS", RecordType::NS),
    ("PTR", RecordType::PTR),
    ("SOA", RecordType::SOA),
    ("SRV", RecordType::SRV),
    ("TXT", RecordType::TXT),
]);
const RCODES: Choice<u16> =
    Choice(&[("NOERROR", 0), ("FORMERR", 1), ("SERVFAIL", 2), ("NXDOMAIN", 3), ("NOTIMP", 4), ("REFUSED", 5)]);
const TRANSPORTS: Choice<bool> = Choice(&[("udp", false), ("tcp", true)]);

keys! {
    #[derive(Debug)]
    pub struct DnsKeys {
        /// what is asked for
        name: String = key(NAME).required();
        /// which of its records
        record: RecordType = key(RECORDS).or(RecordType::A);
        /// the response code that is good
        rcode: u16 = key(RCODES).or(0);
        /// what one of the records must be, as a zone's file has it: an address, a name, `10 mail.example.org`; of TXT the
        /// text without quotes
        answer: String = key(ANSWER).without("any, or none");
        /// what it is asked by
        transport: bool = key(TRANSPORTS).or(false);
    }
}

impl Asks for Dns {
    const WORD: &'static str = "dns";
    const WANTS: &'static str = "a name server's answer, by UDP or TCP";
    const HAS_VIA: bool = true;
    type Keys = DnsKeys;

    fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let keys = DnsKeys::read(section);
        let record = keys.record.copied()?;
        if let Some((text, span)) = keys.answer.written() {
            let address = text.parse::<IpAddr>().ok();
            let fits = match record {
                RecordType::A => address.is_some_and(|address| address.is_ipv4()),
                RecordType::AAAA => address.is_some_and(|address| address.is_ipv6()),
                _ => true,
            };
            if !fits {
                let (kind, example) =
                    if record == RecordType::A { ("IPv4", "192.0.2.10") } else { ("IPv6", "2001:db8::10") };
                section.report(
                    span.clone(),
                    format!("\"{}\" is no {kind} address, which {record} records are", short(text)),
                    format!("write answer = \"{example}\", or set `record`"),
                );
            }
            if keys.rcode.copied().is_some_and(|rcode| rcode != 0) {
                section.report(span, "an answer of that `rcode` has no records", "remove `answer` or `rcode`");
            }
        }
        Some(Self {
            name: keys.name.cloned()?,
            record,
            rcode: keys.rcode.copied()?,
            answer: keys.answer.cloned(),
            over_tcp: keys.transport.copied()?,
        })
    }

    fn words(&self, port: u16) -> String {
        let over = if self.over_tcp { "TCP" } else { "UDP" };
        let rcode = RCODES.0.iter().find(|(_, code)| *code == self.rcode).map_or("", |(word, _)| *word);
        let answer = self.answer.as_ref().map(|answer| format!(" with {}", short(answer)));
        let name = clip(&self.name, WIDTH / 2);
        format!("DNS {} {name} to {over} port {port}, good is {rcode}{}", self.record, answer.unwrap_or_default())
    }
}

fn name(text: &str) -> Result<String, Fault> {
    // A name of no label is the root, which is to be meant.
    match Name::from_ascii(text) {
        Ok(_) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(Fault::new(
            format!("\"{}\" is not a name that can be asked for", short(text)),
            "write labels of 1 to 63 letters, digits and dashes with dots between, such as \"www.example.org\"; \".\" is the root",
        )),
    }
}

fn answer(text: &str) -> Result<String, Fault> {
    match text.trim() {
        "" => Err(Fault::new("an empty answer is none", "write a record's data, or remove the line")),
        text if text.len() > 255 => {
            Err(Fault::new("a record's data has at most 255 characters here", "check for a shorter record"))
        }
        text => Ok(text.to_owned()),
    }
}
