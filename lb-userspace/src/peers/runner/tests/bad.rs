//! Peers and strangers that behave badly.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use super::*;
use crate::peers::noise::Handshake;
use crate::peers::wire::{Message, Service};

/// A peer of which a test decides every word.
struct Fake {
    met: Met,
}

impl Fake {
    /// Calls director 1 as director 2.
    async fn call(network: Network, instance: u64) -> Self {
        let (own, table) = (Greeting::new(instance, 1), Arc::new(Table::default()));
        let shared = Shared::new(own, Key::of("k"), network.address(2), &[network.address(1)], table);
        // The listening socket may not be there yet.
        let start = Instant::now();
        loop {
            match greet::call(&shared, network.address(1)).await {
                Ok(met) => return Self { met },
                Err(error) => assert!(start.elapsed() < PATIENCE, "{error}"),
            }
        }
    }

    async fn say(&mut self, message: &Message) {
        self.say_bytes(&message.encode()).await;
    }

    async fn say_bytes(&mut self, message: &[u8]) {
        let mut out = Vec::new();
        self.met.channel.seal(message, &mut out).unwrap();
        self.met.stream.write_all(&out).await.unwrap();
    }

    async fn bulk(&mut self) {
        self.say(&Message::Begin).await;
        self.say(&Message::End(crate::peers::wire::Counts::default())).await;
    }

    /// Reads until the other one ends the connection.
    async fn ends(mut self) {
        let mut bytes = vec![0; 1 << 16];
        let end = async { while self.met.stream.read(&mut bytes).await.is_ok_and(|size| size > 0) {} };
        timeout(PATIENCE, end).await.expect("the connection goes on");
    }
}

/// A TCP connection from this director's address to director 1.
async fn connect(network: Network, from: u8) -> TcpStream {
    let start = Instant::now();
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((network.address(from).ip(), 0).into()).unwrap();
        match socket.connect(network.address(1)).await {
            Ok(stream) => return stream,
            Err(error) => assert!(start.elapsed() < PATIENCE, "{error}"),
        }
        sleep(Duration::from_millis(5)).await;
    }
}

async fn is_ended(mut stream: TcpStream) {
    let mut bytes = [0; 100];
    let end = async { while stream.read(&mut bytes).await.is_ok_and(|size| size > 0) {} };
    timeout(PATIENCE, end).await.expect("the connection goes on");
}

#[tokio::test]
async fn another_key_is_refused_by_both() {
    let network = Network::new();
    let a = Director::start(network, 1, &[2, 3], "k");
    let b = Director::start(network, 2, &[1, 3], "k");
    let c = Director::start(network, 3, &[1, 2], "another");
    a.serve(0, 1);
    until("those of one key talk", || b.knows(1, 0) == Some((1, 1))).await;
    until("both say why", || {
        let says = |one: &Director, of| one.peer(of).error.is_some_and(|error: String| error.contains("key"));
        says(&a, 3) && says(&b, 3) && says(&c, 1) && says(&c, 2)
    })
    .await;
    assert!(a.is_live(2) && a.peer(3).state == State::Connecting && c.knows(1, 0).is_none());
    assert_eq!(c.handle.bulk_taken(Duration::ZERO).await, Taken::Without(vec![network.address(1), network.address(2)]));
}

#[tokio::test]
async fn strangers_and_noise_are_let_go() {
    let network = Network::new();
    let a = Director::start(network, 1, &[2], "k");
    // From an address that nobody has.
    is_ended(connect(network, 77).await).await;
    // From a peer's address, without a word of the protocol.
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 48], &[0, 0], &[0xff; 70000], &[0, 48, 1, 2, 3]] {
        let mut stream = connect(network, 2).await;
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        is_ended(stream).await;
    }
    // More callers than there is room for; those that say nothing are let go in the end.
    let mut idle = Vec::new();
    for _ in 0..CALLERS * 2 {
        idle.push(connect(network, 2).await);
    }
    let b = Director::start(network, 2, &[1], "k");
    until("the peer itself is heard", || a.is_live(2) && b.is_live(1)).await;
    for stream in idle {
        is_ended(stream).await;
    }
    assert!(a.is_live(2));
}

#[tokio::test]
async fn what_another_connection_said_is_worth_nothing() {
    let network = Network::new();
    let a = Director::start(network, 1, &[2], "k");
    a.serve(0, 1);
    // All that a peer says, as somebody on the way hears it.
    let mut handshake = Handshake::call(&Key::of("k")).unwrap();
    let hello = handshake.write().unwrap();
    let mut stream = connect(network, 2).await;
    stream.write_all(&hello).await.unwrap();
    let mut reply = vec![0; 50];
    stream.read_exact(&mut reply).await.unwrap();
    handshake.read(&reply[2..]).unwrap();
    let mut channel = handshake.finish().unwrap();
    let mut said = Vec::new();
    channel.seal(&Greeting::new(7, 1).encode(), &mut said).unwrap();
    channel.seal(&Message::Begin.encode(), &mut said).unwrap();
    stream.write_all(&said).await.unwrap();
    until("it is heard", || a.peer(2).state == State::Bulk).await;
    let mut replayed = connect(network, 2).await;
    replayed.write_all(&hello).await.unwrap();
    let mut other = vec![0; 50];
    replayed.read_exact(&mut other).await.unwrap();
    assert_ne!(other, reply);
    replayed.write_all(&said).await.unwrap();
    is_ended(replayed).await;
    assert_eq!(a.peer(2).state, State::Bulk, "the first connection goes on");
}

#[tokio::test]
async fn liars_are_cut_and_let_be_for_a_while() {
    let offer = Message::Services(vec![Service::new(0, service(0), Kind::Tracked, true, 1)]);
    let lies = [
        (vec![0x77; 40], "bytes that are no message"),
        (Message::Gone(9).encode(), "something before its bulk"),
        (offer.encode(), "something before its bulk"),
    ];
    for (lie, expected) in lies {
        let network = Network::new();
        let a = Director::start(network, 1, &[2], "k");
        let mut fake = Fake::call(network, 7).await;
        fake.say_bytes(&lie).await;
        fake.ends().await;
        until("it is said", || a.peer(2).error.is_some_and(|error| error.contains(expected))).await;
        assert_eq!(a.peer(2).state, State::Connecting);
        // It may call, but nobody talks to it.
        let mut stream = connect(network, 2).await;
        let mut handshake = Handshake::call(&Key::of("k")).unwrap();
        stream.write_all(&handshake.write().unwrap()).await.unwrap();
        let mut reply = vec![0; 50];
        stream.read_exact(&mut reply).await.unwrap();
        handshake.read(&reply[2..]).unwrap();
        let mut said = Vec::new();
        handshake.finish().unwrap().seal(&Greeting::new(7, 1).encode(), &mut said).unwrap();
        stream.write_all(&said).await.unwrap();
        is_ended(stream).await;
    }
}

#[tokio::test]
async fn another_version_is_named() {
    let network = Network::new();
    let a = Director::start(network, 1, &[2], "k");
    let mut greeting = Greeting::new(7, 1);
    (greeting.oldest, greeting.newest) = (8, 9);
    let shared =
        Shared::new(greeting, Key::of("k"), network.address(2), &[network.address(1)], Arc::new(Table::default()));
    let start = Instant::now();
    while a.peer(2).error.is_none_or(|error| !error.contains("speaks versions 8 to 9")) {
        assert!(start.elapsed() < PATIENCE, "{:?}", a.peer(2));
        let _ = greet::call(&shared, network.address(1)).await;
    }
}

#[tokio::test]
async fn a_peer_that_stops_reading_is_cut_and_told_anew() {
    let network = Network::new();
    let a = Director::start(network, 1, &[2], "k");
    a.serve(0, 1);
    let mut fake = Fake::call(network, 7).await;
    fake.bulk().await;
    until("it is live", || a.is_live(2)).await;
    // It says that it lives, but takes nothing.
    let flows: Vec<_> = (0..3000).map(|client| flow(service(0), client, 1, Stage::Open)).collect();
    let start = Instant::now();
    let mut at = 0;
    while a.is_live(2) {
        assert!(start.elapsed() < PATIENCE, "it is still live");
        a.handle.tell(Change::Flows(flows.clone()));
        let mut out = Vec::new();
        fake.met.channel.seal(&Message::Ping(at).encode(), &mut out).unwrap();
        let _ = fake.met.stream.write_all(&out).await;
        at += 1;
        sleep(Duration::from_millis(1)).await;
    }
    let status = a.peer(2);
    assert!(status.error.unwrap().starts_with("doesn't keep up"));
    // What the queues and the kernel's buffers of both ends hold, and no more.
    assert!(status.sent.bytes < 64 << 20, "{} bytes", status.sent.bytes);
    drop(fake);
    let b = Director::start(network, 2, &[1], "k");
    until("it is told all again", || b.knows(1, 0) == Some((1, 1))).await;
}

#[tokio::test]
async fn a_newer_connection_replaces_one_that_its_peer_gave_up() {
    let network = Network::new();
    let a = Director::start(network, 1, &[2], "k");
    let mut first = Fake::call(network, 7).await;
    first.bulk().await;
    until("it is live", || a.is_live(2)).await;
    // The first one isn't closed: the peer's machine lost its power.
    let mut second = Fake::call(network, 8).await;
    second.bulk().await;
    first.ends().await;
    until("the second is live", || a.is_live(2)).await;
    // The same run again, over another path.
    let mut third = Fake::call(network, 8).await;
    third.bulk().await;
    second.ends().await;
    until("the third is live", || a.is_live(2)).await;
    // Silence is noticed.
    until("it is missed", || a.peer(2).error.is_some_and(|error| error.starts_with("was silent for 5 s"))).await;
    third.ends().await;
}

/// Two that lost each other both call, and one end drops the one connection before the other end has met the other.
#[tokio::test]
async fn a_connection_that_ends_for_another_is_no_fault() {
    let network = Network::new();
    let a = Director::start(network, 1, &[2], "k");
    let mut held = Fake::call(network, 7).await;
    // On a busy machine the other comes late.
    for _ in 0..20 {
        held.bulk().await;
        until("it is live", || a.is_live(2)).await;
        drop(held);
        held = Fake::call(network, 7).await;
        // Who is served is told something.
        assert!(held.met.stream.read(&mut [0; 100]).await.is_ok_and(|size| size > 0));
        if a.peer(2).error.is_none() {
            drop(held);
            return until("its end to be told", || a.peer(2).error.as_deref() == Some("ended the connection")).await;
        }
    }
    panic!("each was taken for a fault: {:?}", a.peer(2).error);
}

#[tokio::test]
async fn an_agent_that_takes_nothing_holds_up_the_peer_alone() {
    let network = Network::new();
    let (handle, items) = spawn(&network.config(1, &[2]), Key::of("k"), 1, Arc::new(Table::default()));
    let mut fake = Fake::call(network, 7).await;
    fake.say(&Message::Begin).await;
    fake.say(&Message::Services(vec![Service::new(0, service(0), Kind::Tracked, true, 1)])).await;
    let list = Message::Members { services: vec![0], more: false, members: vec![member(service(0), 1, 1); 2000] };
    let mut out = Vec::new();
    fake.met.channel.seal(&list.encode(), &mut out).unwrap();
    let mut sent = 0_usize;
    // Until no more goes.
    while let Ok(written) = timeout(Duration::from_millis(300), fake.met.stream.write_all(&out)).await {
        written.unwrap();
        sent += out.len();
        assert!(sent < 256 << 20, "there is no end to what is taken");
        out.clear();
        fake.met.channel.seal(&list.encode(), &mut out).unwrap();
    }
    assert_eq!(handle.status().peers[0].state, State::Bulk);
    assert!(!items.is_empty());
}
