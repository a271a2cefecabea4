//! The DNS check (RFC 1035): one question, by UDP from a socket of its own or by TCP. Its own answer is the one with its
//! number and its question, from the real; by UDP others are passed over, since anybody may send them.

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, MX, NS, PTR, SOA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout_at;

use super::source::Datagrams;
use super::{Deadline, Fault, Way, connect};
use crate::config::{Dns, short};

/// Bytes of a datagram that are read: without EDNS a server sends 512 (RFC 1035 section 2.3.4).
const DATAGRAM: usize = 2048;

pub(super) async fn check(way: Way<'_>, question: &Dns, deadline: &Deadline) -> Result<(), Fault> {
    let query = query(question, fastrand::u16(..)).ok_or(Fault::Request("name"))?;
    let asked = query.to_vec().map_err(|_| Fault::Request("name"))?;
    let answer = async {
        if question.over_tcp {
            by_tcp(way, question, &query, &asked, deadline).await
        } else {
            by_udp(way, question, &query, &asked).await
        }
    };
    timeout_at(deadline.at, answer).await.map_err(|_| Fault::Waiting(deadline.timeout))?
}

async fn by_udp(way: Way<'_>, question: &Dns, query: &Message, asked: &[u8]) -> Result<(), Fault> {
    let mut socket = Datagrams::new(way).await?;
    socket.send(asked).await?;
    let mut datagram = [0; DATAGRAM];
    loop {
        let length = socket.recv(&mut datagram).await?;
        let answer = datagram.get(..length).unwrap_or_default();
        match judge(question, query, answer) {
            Judged::Anothers => {}
            Judged::Own(judged) => return judged,
        }
    }
}

/// Each message behind its length in two bytes (RFC 1035 section 4.2.2).
async fn by_tcp(way: Way<'_>, question: &Dns, query: &Message, asked: &[u8], deadline: &Deadline) -> Result<(), Fault> {
    let mut connection = connect(way, deadline).await?;
    let length = u16::try_from(asked.len()).map_err(|_| Fault::Request("name"))?;
    connection.write_all(&[&length.to_be_bytes()[..], asked].concat()).await?;
    let closed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Fault::Closed,
        _ => error.into(),
    };
    let length = connection.read_u16().await.map_err(closed)?;
    let mut answer = vec![0; length.into()];
    connection.read_exact(&mut answer).await.map_err(closed)?;
    match judge(question, query, &answer) {
        // Nobody else can have sent it.
        Judged::Anothers => Err(Fault::NotDns),
        Judged::Own(judged) => judged,
    }
}

fn query(question: &Dns, id: u16) -> Option<Message> {
    let mut name = Name::from_ascii(&question.name).ok()?;
    // Relative to nothing but the root.
    name.set_fqdn(true);
    let mut query = Message::new(id, MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(name, question.record));
    Some(query)
}

/// What a message is to this check.
#[derive(Debug)]
enum Judged {
    /// Not the answer to its question.
    Anothers,
    /// Its answer.
    Own(Result<(), Fault>),
}

fn judge(question: &Dns, query: &Message, bytes: &[u8]) -> Judged {
    if bytes.get(..2) != Some(&query.metadata.id.to_be_bytes()[..]) {
        return Judged::Anothers;
    }
    let Ok(answer) = Message::from_vec(bytes) else { return Judged::Own(Err(Fault::NotDns)) };
    let is_answer = answer.metadata.message_type == MessageType::Response && answer.metadata.op_code == OpCode::Query;
    // A server that could not read the question may leave it out.
    let is_ours = answer.queries == query.queries
        || answer.queries.is_empty() && answer.metadata.response_code != ResponseCode::NoError;
    if !is_answer || !is_ours {
        return Judged::Anothers;
    }
    let rcode = u16::from(answer.metadata.response_code);
    if rcode != question.rcode {
        let expected = word(question.rcode);
        return Judged::Own(Err(Fault::Rcode { rcode: word(rcode), expected }));
    }
    let Some(wanted) = &question.answer else { return Judged::Own(Ok(())) };
    let records = || answer.answers.iter().filter(|record| record.record_type() == question.record);
    if records().any(|record| is_same(record, wanted)) {
        return Judged::Own(Ok(()));
    }
    let found: Vec<String> = records().take(FOUND).map(|record| short(&data(record))).collect();
    let cut = if answer.metadata.truncation { " (and was cut off: set transport = \"tcp\")" } else { "" };
    let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
    Judged::Own(Err(Fault::Records { found: found + cut, wanted: short(wanted) }))
}

/// Records that are told.
const FOUND: usize = 3;

/// Whether a record's data is this text: names with a last dot or without, in any case, addresses however they are
/// written; TXT's to the letter.
fn is_same(record: &Record, wanted: &str) -> bool {
    let data = data(record);
    if record.record_type() == RecordType::TXT {
        return data == wanted;
    }
    let plain = |text: &str| text.trim_end_matches('.').to_owned();
    data.parse::<std::net::IpAddr>().ok().is_some_and(|address| wanted.parse() == Ok(address))
        || plain(&data).eq_ignore_ascii_case(&plain(wanted))
}

/// A record's data as it is written in a zone's file. Names stay as they are sent, where the crate would decode them
/// (`xn--`).
fn data(record: &Record) -> String {
    match &record.data {
        RData::CNAME(CNAME(name)) | RData::NS(NS(name)) | RData::PTR(PTR(name)) => name.to_ascii(),
        RData::MX(MX { preference, exchange, .. }) => format!("{preference} {}", exchange.to_ascii()),
        RData::SRV(SRV { priority, weight, port, target, .. }) => {
            format!("{priority} {weight} {port} {}", target.to_ascii())
        }
        RData::SOA(SOA { mname, rname, serial, refresh, retry, expire, minimum, .. }) => {
            let (mname, rname) = (mname.to_ascii(), rname.to_ascii());
            format!("{mname} {rname} {serial} {refresh} {retry} {expire} {minimum}")
        }
        data => data.to_string(),
    }
}

/// A response code as servers' logs have it.
fn word(rcode: u16) -> String {
    let word = match rcode {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        other => return format!("response code {other}"),
    };
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use hickory_proto::rr::rdata::{A, TXT};
    use proptest::prelude::*;
    use tokio::net::{TcpListener, UdpSocket};

    use super::super::tests::{GENEROUS, bad, target, wrong};
    use super::super::{Memory, Vips, run};
    use super::*;
    use crate::config::CheckKind;
    use crate::health::machine::Outcome;

    fn question() -> Dns {
        Dns { name: "www.example.org".to_owned(), record: RecordType::A, rcode: 0, answer: None, over_tcp: false }
    }

    /// An answer of these records to a question with this number.
    fn answer(question: &Dns, id: u16, rcode: ResponseCode, data: &[RData]) -> Message {
        let mut answer = query(question, id).unwrap();
        answer.metadata.message_type = MessageType::Response;
        answer.metadata.response_code = rcode;
        for data in data {
            let name = answer.queries[0].name().clone();
            answer.add_answer(Record::from_rdata(name, 60, data.clone()));
        }
        answer
    }

    #[test]
    fn only_the_answer_to_its_question_counts() {
        const ID: u16 = 0x1234;
        let address = RData::A(A(Ipv4Addr::new(192, 0, 2, 10)));
        let mail = RData::MX(MX::new(10, Name::from_ascii("mail.example.org.").unwrap()));
        let wants = |text: &str| Dns { answer: Some(text.to_owned()), ..question() };
        let wants_mail = Dns { record: RecordType::MX, ..wants("10 MAIL.example.org") };
        let wants_text = |text: &str| Dns { record: RecordType::TXT, ..wants(text) };
        let text = RData::TXT(TXT::new(vec!["Well 10.".to_owned()]));
        let wants_name = Dns { record: RecordType::NS, ..wants("ns.xn--bcher-kva.example") };
        let name = RData::NS(NS(Name::from_ascii("ns.xn--bcher-kva.example.").unwrap()));
        let refused = Dns { rcode: 5, ..question() };
        let good = |question: &Dns, data: &[RData]| answer(question, ID, ResponseCode::NoError, data);
        let mut asked_again = good(&question(), &[]);
        asked_again.metadata.message_type = MessageType::Query;
        let mut cut = good(&question(), &[]);
        cut.metadata.truncation = true;
        let other_name = Dns { name: "ftp.example.org".to_owned(), ..question() };
        let no_question = |rcode| {
            let mut answer = answer(&question(), ID, rcode, &[]);
            answer.queries.clear();
            answer
        };
        type Row = (&'static str, Dns, Message, Option<Result<(), &'static str>>);
        let rows: Vec<Row> = vec![
            ("its answer", question(), good(&question(), &[]), Some(Ok(()))),
            ("another number", question(), answer(&question(), ID + 1, ResponseCode::NoError, &[]), None),
            ("the question itself", question(), asked_again, None),
            ("of another name", question(), good(&other_name, &[]), None),
            ("without a question", question(), no_question(ResponseCode::NoError), None),
            ("it wasn't read", question(), no_question(ResponseCode::FormErr), Some(Err("FORMERR, expected NOERROR"))),
            (
                "no such name",
                question(),
                answer(&question(), ID, ResponseCode::NXDomain, &[]),
                Some(Err("NXDOMAIN, expected NOERROR")),
            ),
            (
                "refused, as it is to be",
                refused.clone(),
                answer(&refused, ID, ResponseCode::Refused, &[]),
                Some(Ok(())),
            ),
            ("the address", wants("192.0.2.10"), good(&question(), std::slice::from_ref(&address)), Some(Ok(()))),
            (
                "another address",
                wants("192.0.2.11"),
                good(&question(), &[address]),
                Some(Err("the answer has 192.0.2.10, not 192.0.2.11")),
            ),
            (
                "no address",
                wants("192.0.2.11"),
                good(&question(), &[]),
                Some(Err("the answer has none, not 192.0.2.11")),
            ),
            (
                "cut off",
                wants("192.0.2.11"),
                cut,
                Some(Err("the answer has none (and was cut off: set transport = \"tcp\"), not 192.0.2.11")),
            ),
            ("a mail server", wants_mail.clone(), good(&wants_mail, &[mail]), Some(Ok(()))),
            ("a text", wants_text("Well 10."), good(&wants_text(""), std::slice::from_ref(&text)), Some(Ok(()))),
            (
                "another text",
                wants_text("well 10."),
                good(&wants_text(""), &[text]),
                Some(Err("the answer has Well 10., not well 10.")),
            ),
            ("an encoded name", wants_name.clone(), good(&wants_name, &[name]), Some(Ok(()))),
        ];
        for (what, question, answer, expected) in rows {
            let judged = match judge(&question, &query(&question, ID).unwrap(), &answer.to_vec().unwrap()) {
                Judged::Anothers => None,
                Judged::Own(judged) => Some(judged.map_err(|fault| fault.to_string())),
            };
            assert_eq!(judged, expected.map(|expected| expected.map_err(str::to_owned)), "{what}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..600), ours: bool) {
            let (question, id) = (Dns { answer: Some("192.0.2.10".to_owned()), ..question() }, 0x1234);
            let bytes = if ours { [&[0x12, 0x34][..], &bytes].concat() } else { bytes };
            let judged = judge(&question, &query(&question, id).unwrap(), &bytes);
            prop_assert!(!matches!(judged, Judged::Own(Ok(()))));
        }
    }

    async fn ask(question: Dns, port: u16, timeout: Duration) -> Outcome {
        run(&target(CheckKind::Dns(question), port, timeout), &Vips::default(), &Memory::default()).await
    }

    #[tokio::test]
    async fn by_udp_what_isnt_its_answer_is_passed_over() {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = server.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut asked = [0; 512];
            loop {
                let (length, from) = server.recv_from(&mut asked).await.unwrap();
                let id = Message::from_vec(&asked[..length]).unwrap().metadata.id;
                let good = answer(&question(), id, ResponseCode::NoError, &[]).to_vec().unwrap();
                let wrong = answer(&question(), id ^ 1, ResponseCode::ServFail, &[]).to_vec().unwrap();
                // Of another source, which the socket doesn't hear.
                let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                let forged = answer(&question(), id, ResponseCode::Refused, &[]).to_vec().unwrap();
                other.send_to(&forged, from).await.unwrap();
                for datagram in [&[][..], b"x", &wrong, &good] {
                    server.send_to(datagram, from).await.unwrap();
                }
            }
        });
        assert_eq!(ask(question(), port, GENEROUS).await, Outcome::Good);
        let refused = Dns { rcode: 5, ..question() };
        assert_eq!(ask(refused, port, GENEROUS).await, wrong("NOERROR, expected REFUSED"));
        let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = silent.local_addr().unwrap().port();
        let waited = bad("timed out after 150ms waiting for a response");
        assert_eq!(ask(question(), port, Duration::from_millis(150)).await, waited);
    }

    #[tokio::test]
    async fn by_tcp_a_message_comes_whole_or_is_none() {
        type Says = fn(u16) -> Vec<u8>;
        let rows: [(Says, Outcome); 5] = [
            (|id| framed(&answer(&question(), id, ResponseCode::NoError, &[])), Outcome::Good),
            (|id| framed(&answer(&question(), id ^ 1, ResponseCode::NoError, &[])), wrong("the answer is not DNS's")),
            (|_| b"\x00\x05hello".to_vec(), wrong("the answer is not DNS's")),
            (|_| b"\xff\xffshort".to_vec(), bad("closed before a response")),
            (|_| Vec::new(), bad("closed before a response")),
        ];
        for (says, expected) in rows {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            tokio::spawn(async move {
                let (mut connection, _) = listener.accept().await.unwrap();
                let mut asked = vec![0; connection.read_u16().await.unwrap().into()];
                connection.read_exact(&mut asked).await.unwrap();
                let id = u16::from_be_bytes([asked[0], asked[1]]);
                connection.write_all(&says(id)).await.unwrap();
            });
            assert_eq!(ask(Dns { over_tcp: true, ..question() }, port, GENEROUS).await, expected);
        }
    }

    fn framed(message: &Message) -> Vec<u8> {
        let bytes = message.to_vec().unwrap();
        [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat()
    }
}
