//! Directors that mean well.

use super::*;
use crate::peers::differences::Difference;

#[tokio::test]
async fn two_directors_know_each_others_state() {
    let network = Network::new();
    let a = Director::start(network, 1, &[2], "k");
    a.serve(0, 3);
    let b = Director::start(network, 2, &[1], "k");
    b.serve(1, 2);
    b.handle.tell(Change::Service(service(0), Offer { kind: Kind::Tracked, serving: false, configured: vec![] }));
    assert_eq!(a.handle.bulk_taken(PATIENCE).await, Taken::All);
    assert_eq!(b.handle.bulk_taken(PATIENCE).await, Taken::All);
    until("bulk", || b.knows(1, 0) == Some((1, 3)) && a.knows(2, 1) == Some((1, 2))).await;
    until("both are live", || a.is_live(2) && b.is_live(1)).await;
    // Deltas.
    a.open(0, 3);
    b.open(1, 2);
    b.handle.tell(Change::Members(vec![service(1)], vec![]));
    until("deltas", || b.knows(1, 0) == Some((1, 4)) && a.knows(2, 1) == Some((0, 3))).await;
    a.table.forget(service(0));
    a.handle.tell(Change::Gone(service(0)));
    until("the end of a service", || b.knows(1, 0).is_none()).await;
    // What the status says.
    until("a ping came back", || a.peer(2).lag_ms.is_some()).await;
    let status = a.peer(2);
    assert!(status.bulk_taken && !status.other_rings && status.error.is_none(), "{status:?}");
    assert!(status.sent.flows >= 4 && status.received.flows >= 3, "{status:?}");
    let differing: Vec<_> = status.differences.iter().map(|one| (one.service.as_str(), one.what)).collect();
    let expected = [("TCP 192.0.2.1:80", Difference::OnlyThere), ("TCP [2001:db8::1]:443", Difference::OnlyThere)];
    assert_eq!(differing, expected);
    assert!(serde_json::to_string(&a.handle.status()).unwrap().contains("\"state\":\"live\""));
}

#[tokio::test]
async fn three_directors_each_serve_two_vips() {
    let network = Network::new();
    let directors: Vec<Director> = [(1, [2, 3]), (2, [1, 3]), (3, [1, 2])]
        .into_iter()
        .map(|(n, others)| Director::start(network, n, &others, "k"))
        .collect();
    for (director, n) in directors.iter().zip(0..) {
        director.serve(n, 10 + n as u16);
    }
    for (one, n) in directors.iter().zip(1..) {
        for other in (1..=3).filter(|other| *other != n) {
            let expected = Some((1, 9 + usize::from(other)));
            until("all know all", || one.knows(other, usize::from(other) - 1) == expected).await;
            until("all are live", || one.is_live(other)).await;
        }
    }
}

#[tokio::test]
async fn a_peer_that_starts_again_is_told_all_anew() {
    let network = Network::new();
    let a = Director::start(network, 1, &[2], "k");
    a.serve(0, 5);
    let b = Director::start(network, 2, &[1], "k");
    b.serve(1, 5);
    until("both know", || a.knows(2, 1) == Some((1, 5)) && b.knows(1, 0) == Some((1, 5))).await;
    drop(b);
    until("it is missed", || a.peer(2).state == State::Connecting && a.peer(2).error.is_some()).await;
    // What it told stays.
    assert_eq!(a.knows(2, 1), Some((1, 5)));
    a.open(0, 5);
    let b = Director::start(network, 2, &[1], "k");
    b.serve(1, 1);
    until("both know again", || b.knows(1, 0) == Some((1, 6)) && a.knows(2, 1) == Some((1, 1))).await;
    until("all is well", || a.is_live(2) && a.peer(2).error.is_none()).await;
}

#[tokio::test]
async fn whoever_starts_alone_is_told_so() {
    let network = Network::new();
    let a = Director::start(network, 1, &[2, 3], "k");
    let b = Director::start(network, 2, &[1, 3], "k");
    let start = Instant::now();
    let taken = a.handle.bulk_taken(Duration::from_secs(2)).await;
    assert_eq!(taken, Taken::Without(vec![network.address(3)]));
    assert!(start.elapsed() >= Duration::from_secs(2));
    assert!(a.peer(3).error.unwrap().starts_with("can't be reached: Connection refused"));
    let start = Instant::now();
    let c = Director::start(network, 3, &[1, 2], "k");
    assert_eq!(a.handle.bulk_taken(PATIENCE).await, Taken::All);
    assert!(start.elapsed() < PATIENCE);
    drop((b, c));
}

#[tokio::test]
async fn an_address_that_comes_later_is_listened_on_then() {
    let network = Network::new();
    let taken = tokio::net::TcpListener::bind(network.address(1)).await.unwrap();
    let a = Director::start(network, 1, &[2], "k");
    until("it is said", || a.handle.status().listen_error.is_some_and(|error| error.contains("in use"))).await;
    drop(taken);
    until("it is mended", || a.handle.status().listen_error.is_none()).await;
}
