//! VIP ownership by VRRP.
