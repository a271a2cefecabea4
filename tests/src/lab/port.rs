//! How a port of a VLAN-aware switch treats tags.

/// A switch port's VLANs. A segment that has one such port is VLAN-aware as a whole; its ports without a setting of
/// their own are `Port::access(1)`.
///
/// The kernel's bridge needs 802.1Q support for this, which build machines often lack, so the lab's switch does it
/// with two small BPF programs on the port. Learning is shared between VLANs: one address may not be in two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The VLAN that an untagged frame from the host joins; `None` drops it.
    pub(crate) ingress: Option<u16>,
    /// The VLAN whose frames reach the host without their tag.
    pub(crate) egress: Option<u16>,
    /// VLANs whose frames pass with their tag, both ways.
    pub(crate) tagged: Vec<u16>,
}

impl Port {
    /// One VLAN without tags: what a host that knows nothing of VLANs is plugged into.
    #[must_use]
    pub fn access(vlan: u16) -> Self {
        Self::split(vlan, vlan)
    }

    /// VLANs with tags and nothing else.
    #[must_use]
    pub fn trunk(vlans: impl IntoIterator<Item = u16>) -> Self {
        Self { ingress: None, egress: None, tagged: vlans.into_iter().collect() }
    }

    /// A trunk that also carries one VLAN without tags.
    #[must_use]
    pub fn hybrid(native: u16, vlans: impl IntoIterator<Item = u16>) -> Self {
        Self { ingress: Some(native), egress: Some(native), tagged: vlans.into_iter().collect() }
    }

    /// A host that hears one VLAN and speaks in another, both without tags: a real that takes requests from the
    /// directors' VLAN and answers straight into the clients'.
    #[must_use]
    pub fn split(hears: u16, speaks: u16) -> Self {
        Self { ingress: Some(speaks), egress: Some(hears), tagged: Vec::new() }
    }
}
