//! The SMTP check (RFC 5321): the greeting and EHLO, then, where the check has `tls`, STARTTLS (RFC 3207) and EHLO once
//! more within; at last QUIT. No mail is begun.

pub mod reply;

use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};
use tokio_util::either::Either;

use super::{Connection, Deadline, Memory, Way, connect, tls};
use crate::config::{Smtp, short};
use crate::health::Failure;
use reply::{Read, Reply};

/// Time that is given at most to the answer to QUIT, which decides nothing.
const BYE_WITHIN: Duration = Duration::from_millis(50);

/// Why a mail server isn't good.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// What came is no reply of SMTP's.
    #[error("the answer is not SMTP's")]
    NotSmtp,
    /// A reply without end.
    #[error("the reply is too long (more than {} KiB or {} lines)", reply::BYTES / 1024, reply::LINES)]
    TooLong,
    /// Another code than the one that goes on.
    #[error("{code}{text} to {to}, expected {expected}")]
    Code {
        /// What came.
        code: u16,
        /// The last line's text, for people, behind a space.
        text: String,
        /// What was answered.
        to: &'static str,
        /// What is good.
        expected: u16,
    },
    /// The check wants TLS.
    #[error("the server doesn't offer STARTTLS")]
    NoStartTls,
}

impl Fault {
    /// What it says of the real.
    pub(super) fn kind(&self) -> Failure {
        Failure::Wrong
    }
}

pub(super) async fn check(
    way: Way<'_>,
    question: &Smtp,
    memory: &Memory,
    deadline: &Deadline,
) -> Result<(), super::Fault> {
    let connection = connect(way, deadline).await?;
    let name =
        question.helo.clone().or_else(|| own(&connection).map(literal)).unwrap_or_else(|| "[127.0.0.1]".to_owned());
    let ehlo = format!("EHLO {name}\r\n");
    let asked = async {
        let mut plain = Talk { stream: connection, read: Vec::new() };
        plain.expect("the greeting", 220).await?;
        let offered = plain.ask(&ehlo, "EHLO", 250).await?;
        let Some(tls) = &question.tls else { return plain.quit(deadline).await };
        if !offered.has("STARTTLS") {
            return Err(Fault::NoStartTls.into());
        }
        plain.ask("STARTTLS\r\n", "STARTTLS", 220).await?;
        if !plain.read.is_empty() {
            // Whatever was put in before the session isn't of it.
            return Err(Fault::NotSmtp.into());
        }
        let asked = tls::Asked { tls, host: None, real: way.real, alpn: &[] };
        let stream = tls::wrap(plain.stream, &asked, memory, deadline).await?;
        let mut within = Talk { stream, read: Vec::new() };
        within.ask(&ehlo, "EHLO within TLS", 250).await?;
        within.quit(deadline).await
    };
    timeout_at(deadline.at, asked).await.map_err(|_| super::Fault::Waiting(deadline.timeout))?
}

/// The address that is asked from.
fn own(connection: &Connection) -> Option<IpAddr> {
    match connection {
        Either::Left(stream) => stream.local_addr().ok().map(|own| own.ip()),
        Either::Right(stream) => Some(stream.own().ip()),
    }
}

/// As EHLO gives it (RFC 5321 section 4.1.3).
fn literal(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("[{v4}]"),
        IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
    }
}

/// A connection, and what came by it that isn't read yet.
struct Talk<S> {
    stream: S,
    read: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    async fn ask(&mut self, command: &str, to: &'static str, expected: u16) -> Result<Reply, super::Fault> {
        self.send(command).await?;
        self.expect(to, expected).await
    }

    async fn send(&mut self, command: &str) -> Result<(), super::Fault> {
        let sent = async {
            self.stream.write_all(command.as_bytes()).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|error| tls::of_io(&error))
    }

    /// The next reply, if it is of this code.
    async fn expect(&mut self, to: &'static str, expected: u16) -> Result<Reply, super::Fault> {
        let reply = self.reply().await?;
        if reply.code == expected {
            return Ok(reply);
        }
        let text = reply.last();
        let text = if text.is_empty() { String::new() } else { format!(" {}", short(text)) };
        Err(Fault::Code { code: reply.code, text, to, expected }.into())
    }

    async fn reply(&mut self) -> Result<Reply, super::Fault> {
        loop {
            match reply::read(&self.read) {
                Read::Whole(reply, length) => {
                    self.read.drain(..length);
                    return Ok(reply);
                }
                Read::Part => {}
                Read::TooLong => return Err(Fault::TooLong.into()),
                Read::Other => return Err(Fault::NotSmtp.into()),
            }
            let mut part = [0; 1024];
            let length = self.stream.read(&mut part).await.map_err(|error| tls::of_io(&error))?;
            if length == 0 {
                return Err(super::Fault::Closed);
            }
            self.read.extend_from_slice(part.get(..length).unwrap_or_default());
        }
    }

    /// Takes its leave, so that the server's log has no lost connection. What it says to that decides nothing.
    async fn quit(&mut self, deadline: &Deadline) -> Result<(), super::Fault> {
        let end = deadline.at.min(Instant::now() + BYE_WITHIN);
        let bye = async {
            self.send("QUIT\r\n").await?;
            self.reply().await
        };
        let _ = timeout_at(end, bye).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::AsyncBufReadExt as _;
    use tokio::net::TcpListener;

    use super::super::tests::{GENEROUS, bad, target, wrong};
    use super::super::{Vips, run};
    use super::*;
    use crate::config::{CheckKind, Tls};
    use crate::health::machine::Outcome;

    /// A server that says the first of these at once, and each other to a command.
    async fn serving(says: &'static [&'static str]) -> (u16, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (connection, _) = listener.accept().await.unwrap();
            let mut connection = tokio::io::BufStream::new(connection);
            let mut heard = Vec::new();
            for said in says {
                if connection.write_all(said.as_bytes()).await.and(connection.flush().await).is_err() {
                    break;
                }
                let mut line = String::new();
                if connection.read_line(&mut line).await.unwrap_or(0) == 0 {
                    break;
                }
                heard.push(line);
            }
            heard
        });
        (port, server)
    }

    async fn ask(question: Smtp, says: &'static [&'static str], timeout: Duration) -> (Outcome, Vec<String>) {
        let (port, server) = serving(says).await;
        let target = target(CheckKind::Smtp(question), port, timeout);
        let outcome = run(&target, &Vips::default(), &Memory::default()).await;
        (outcome, server.await.unwrap())
    }

    #[tokio::test]
    async fn a_server_is_greeted_by_and_said_hello_to() {
        let waited = bad("timed out after 200ms waiting for a response");
        let rows: [(&'static [&'static str], Outcome); 9] = [
            (&["220 mail\r\n", "250-mail\r\n250 HELP\r\n", "221 bye\r\n"], Outcome::Good),
            (&["220-mail\n220 well\n", "250 mail\n", ""], Outcome::Good),
            (&["554 not now\r\n"], wrong("554 not now to the greeting, expected 220")),
            (&["421\r\n"], wrong("421 to the greeting, expected 220")),
            (&["220 mail\r\n", "502 what\r\n"], wrong("502 what to EHLO, expected 250")),
            (&["SSH-2.0-OpenSSH_9.2\r\n"], wrong("the answer is not SMTP's")),
            (&["220-mail\r\n250 other\r\n"], wrong("the answer is not SMTP's")),
            (&["220-"], waited.clone()),
            (&["220 mail\r\n", "250-mail\r\n"], waited),
        ];
        for (says, expected) in rows {
            let timeout = if expected == Outcome::Good { GENEROUS } else { Duration::from_millis(200) };
            assert_eq!(ask(Smtp::default(), says, timeout).await.0, expected, "{says:?}");
        }
        let (_, heard) = ask(Smtp::default(), &["220 mail\r\n", "250 mail\r\n", "221 bye\r\n"], GENEROUS).await;
        assert_eq!(heard, ["EHLO [127.0.0.1]\r\n", "QUIT\r\n"]);
        let named = Smtp { helo: Some("lb1.example.org".to_owned()), tls: None };
        let (_, heard) = ask(named, &["220 mail\r\n", "250 mail\r\n"], GENEROUS).await;
        assert_eq!(heard, ["EHLO lb1.example.org\r\n", "QUIT\r\n"]);
    }

    #[tokio::test]
    async fn what_was_put_in_before_the_session_is_not_taken_for_it() {
        let tls = Smtp { helo: None, tls: Some(Box::new(Tls { insecure: true, ..Tls::default() })) };
        let rows: [(&'static [&'static str], &str); 3] = [
            (&["220 mail\r\n", "250 mail\r\n"], "the server doesn't offer STARTTLS"),
            (&["220 mail\r\n", "250-mail\r\n250 starttls\r\n", "454 no\r\n"], "454 no to STARTTLS, expected 220"),
            (&["220 mail\r\n", "250-mail\r\n250 STARTTLS\r\n", "220 go\r\n250 mail\r\n"], "the answer is not SMTP's"),
        ];
        for (says, expected) in rows {
            assert_eq!(ask(tls.clone(), says, GENEROUS).await.0, wrong(expected), "{says:?}");
        }
    }
}
