//! VLAN tags: read past, kept, changed, pushed and taken off.

use lb_common::Verdict;
use lb_tests::fixture::RealSpec;
use lb_tests::frame::{Segment, ip4, tcp4};
use lb_tests::scenario::{Fixture, to, untouched};
use lb_tests::shape::Extra::HopByHop;
use lb_tests::shape::Shape;
use lb_userspace::dataplane::Desired;

use crate::world::{
    CLIENT, DNS, DNS6, SERVICE_TAG, TAG, VIP, WEB, WEB6, ack, lab, lab_with, question, question6, syn, syn6,
};

pub(crate) fn fixtures() -> Vec<Fixture> {
    [kept(), changed(), pushed(), taken_off(), others()].into_iter().flatten().collect()
}

fn kept() -> Vec<Fixture> {
    vec![
        Fixture::new("a tagged SYN goes to the real with its tag", lab()).send(syn().tagged(TAG, 5), to(WEB).opening()),
        Fixture::new("a tagged IPv6 SYN goes to the real with its tag", lab())
            .send(syn6().tagged(TAG, 5), to(WEB6).opening()),
        Fixture::new("a service tag is a tag", lab()).send(ack().tagged(SERVICE_TAG, 5), to(WEB)),
        Fixture::new("two tags are read past and kept", lab())
            .send(ack().tagged(TAG, 5).tagged(SERVICE_TAG, 100), to(WEB)),
        Fixture::new("two customer tags are read past and kept", lab())
            .send(question6().tagged(TAG, 5).tagged(TAG, 6), to(DNS6)),
        Fixture::new("a priority tag without a VLAN is kept", lab()).send(ack().tagged(TAG, 0xa000), to(WEB)),
        Fixture::new("options behind two tags don't hide the ports", lab())
            .send(ack().with_options(10).tagged(TAG, 5).tagged(SERVICE_TAG, 6), to(WEB)),
        Fixture::new("extension headers behind two tags don't hide the ports", lab())
            .send(question6().with_extras(&[HopByHop(3)]).tagged(TAG, 5).tagged(TAG, 6), to(DNS6)),
        Fixture::new("three tags are one too many", lab())
            .send(ack().tagged(TAG, 5).tagged(TAG, 6).tagged(SERVICE_TAG, 7), untouched(Verdict::NotIp)),
        Fixture::new("a tagged ARP request passes", lab())
            .send(ack().with_kind(0x0806).tagged(TAG, 5), untouched(Verdict::NotIp)),
    ]
}

fn changed() -> Vec<Fixture> {
    vec![
        Fixture::new("a tagged frame gets the VLAN of its real", in_vlan(7))
            .send(syn().tagged(TAG, 5), to(WEB).opening().out(|frame| frame.untagged().tagged(TAG, 7))),
        Fixture::new("priority and drop eligibility stay when the VLAN changes", in_vlan(7))
            .send(ack().tagged(TAG, 0xf005), to(WEB).out(|frame| frame.untagged().tagged(TAG, 0xf007))),
        Fixture::new("the outer of two tags gets the VLAN of the real", in_vlan(4094)).send(
            ack().tagged(TAG, 5).tagged(SERVICE_TAG, 0x6064),
            to(WEB).out(|frame| frame.untagged().tagged(SERVICE_TAG, 0x6000 | 4094)),
        ),
        Fixture::new("a frame of the real's own VLAN keeps its tag", in_vlan(5)).send(ack().tagged(TAG, 5), to(WEB)),
        Fixture::new("an IPv6 frame gets the VLAN of its real", in_vlan(7))
            .send(question6().tagged(TAG, 5), to(DNS6).out(|frame| frame.untagged().tagged(TAG, 7))),
    ]
}

fn pushed() -> Vec<Fixture> {
    vec![
        Fixture::new("an untagged frame gets a tag for a real in a VLAN", in_vlan(7))
            .send(syn(), to(WEB).opening().out(|frame| frame.tagged(TAG, 7))),
        Fixture::new("an untagged IPv6 frame gets a tag for a real in a VLAN", in_vlan(7))
            .send(syn6(), to(WEB6).opening().out(|frame| frame.tagged(TAG, 7))),
        Fixture::new("a jumbo frame gets a tag for a real in a VLAN", in_vlan(7))
            .send(ack().stretched(9014), to(WEB).out(|frame| frame.tagged(TAG, 7))),
        Fixture::new("a pushed tag is not counted", in_vlan(7))
            .send(question(), to(DNS).counting(36).out(|frame| frame.tagged(TAG, 7))),
    ]
}

fn taken_off() -> Vec<Fixture> {
    vec![
        Fixture::new("a tag is taken off for an untagged real", in_vlan(0))
            .send(syn().tagged(TAG, 5), to(WEB).opening().out(Shape::untagged)),
        Fixture::new("two tags are taken off for an untagged real", in_vlan(0))
            .send(ack().tagged(TAG, 5).tagged(SERVICE_TAG, 6), to(WEB).out(|frame| frame.untagged().untagged())),
        Fixture::new("an untagged frame stays so for an untagged real", in_vlan(0)).send(ack(), to(WEB)),
        Fixture::new("an IPv6 frame's tag is taken off for an untagged real", in_vlan(0))
            .send(question6().tagged(SERVICE_TAG, 5), to(DNS6).out(Shape::untagged)),
        Fixture::new("a frame that passes keeps its tags, whatever the reals' VLAN", in_vlan(0))
            .send(tcp4(CLIENT, 40000, VIP, 22, Segment::Ack).tagged(TAG, 5), untouched(Verdict::NotService)),
    ]
}

/// On an interface where the VLANs 5 and 6 are ours.
fn others() -> Vec<Fixture> {
    let maps = with_vlans([5, 6]);
    let other = || untouched(Verdict::OtherVlan);
    vec![
        Fixture::new("tagged frames of our VLANs go to the real, those of others pass", maps.clone())
            .send(syn().tagged(TAG, 5), to(WEB).opening())
            .send(ack().tagged(TAG, 6), to(WEB))
            .send(ack().tagged(TAG, 7), other())
            .send(ack().tagged(SERVICE_TAG, 4095), other())
            .send(question6().tagged(TAG, 5), to(DNS6))
            .send(question6().tagged(TAG, 4), other()),
        Fixture::new("an untagged frame is of no other VLAN", with_vlans([])).send(syn(), to(WEB).opening()),
        Fixture::new("a tag with a priority alone is of no VLAN", with_vlans([]))
            .send(ack().tagged(TAG, 0xe000), to(WEB))
            .send(ack().tagged(TAG, 0xe000).tagged(TAG, 0), to(WEB)),
        Fixture::new("priority and drop eligibility are no part of the VLAN", maps.clone())
            .send(ack().tagged(TAG, 0xf005), to(WEB))
            .send(ack().tagged(TAG, 0xf007), other()),
        Fixture::new("of two tags the outer one says whose the frame is", maps.clone())
            .send(ack().tagged(TAG, 100).tagged(SERVICE_TAG, 5), to(WEB))
            .send(ack().tagged(TAG, 5).tagged(SERVICE_TAG, 100), other()),
        Fixture::new("behind a tag with a priority alone the next one says it", maps.clone())
            .send(ack().tagged(TAG, 5).tagged(TAG, 0xe000), to(WEB))
            .send(ack().tagged(TAG, 100).tagged(TAG, 0xe000), other()),
        Fixture::new("another VLAN's fragments and pings are its own", maps)
            .send(question().fragment(0, true).tagged(TAG, 7), other())
            .send(ip4(CLIENT, VIP, 1, &[8, 0, 0, 0, 0, 0, 0, 0]).tagged(TAG, 7), other())
            .send(question().fragment(185, true).tagged(TAG, 5), untouched(Verdict::VipFragment)),
        Fixture::new("a VLAN that becomes ours is taken at once, and let go at once", with_vlans([]))
            .send(ack().tagged(TAG, 5), other())
            .apply(with_vlans([5]))
            .send(ack().tagged(TAG, 5), to(WEB))
            .apply(with_vlans([]))
            .send(ack().tagged(TAG, 5), other()),
    ]
}

fn with_vlans<const N: usize>(ids: [u16; N]) -> Desired {
    let mut maps = lab();
    maps.ports.iter_mut().for_each(|port| port.vlans = ids.into_iter().collect());
    maps
}

/// The lab with its reals in this VLAN.
fn in_vlan(vlan: u16) -> Desired {
    lab_with(|real| RealSpec { vlan, ..real })
}
