//! How much an address may have done for keys that nobody knows.
//!
//! A key that is made in a moment signs as well as any other, so what it sends must not fill the audit trail, the memory of
//! messages or the table of challenges. Each address may send some such messages at once and then one a second; a key that
//! was certified here, or is the chip of a device, is answered all the same.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Messages at once: a provider's whole site behind one address registers its devices in one morning.
const BURST: u32 = 300;
/// What is given back: one message in this time.
const EACH: Duration = Duration::from_secs(1);
/// Addresses that are remembered.
const MOST_ADDRESSES: usize = 65_536;

/// What each address has used up: when it will have everything back.
#[derive(Debug, Default)]
pub(super) struct Budget(HashMap<IpAddr, Instant>);

impl Budget {
    /// Takes one message from the budget of `address`; `false` where nothing is left.
    pub(super) fn take(&mut self, address: IpAddr, now: Instant) -> bool {
        let address = network(address);
        if self.0.len() >= MOST_ADDRESSES && !self.0.contains_key(&address) {
            self.0.retain(|_, whole| *whole > now);
            if self.0.len() >= MOST_ADDRESSES {
                return false;
            }
        }
        let whole = self.0.entry(address).or_insert(now);
        let then = (*whole).max(now) + EACH;
        let left = then.duration_since(now) <= EACH * BURST;
        if left {
            *whole = then;
        }
        left
    }
}

/// Whoever has one IPv6 address has its whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_a_second_for_each_address() {
        let mut budget = Budget::default();
        let (a, b) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let start = Instant::now();
        assert!((0..BURST).all(|_| budget.take(a, start)));
        assert!(!budget.take(a, start));
        assert!(budget.take(b, start), "another address");
        assert!(budget.take("::ffff:192.0.2.2".parse().unwrap(), start));
        let later = start + EACH;
        assert!(budget.take(a, later) && !budget.take(a, later));
        let hour = start + Duration::from_secs(3600);
        assert!((0..BURST).all(|_| budget.take(a, hour)) && !budget.take(a, hour), "never more than a burst");
    }

    #[test]
    fn a_network_is_one_and_memory_is_bounded() {
        let mut budget = Budget::default();
        let start = Instant::now();
        let host = |n: u128| IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) | n));
        assert!((0..u128::from(BURST)).all(|n| budget.take(host(n), start)));
        assert!(!budget.take(host(u128::MAX >> 64), start), "the same /64");
        let many = |n: u32| IpAddr::from(n.to_be_bytes());
        let room = u32::try_from(MOST_ADDRESSES).unwrap() - 1;
        assert!((0..room).all(|n| budget.take(many(n), start)));
        assert!(!budget.take(many(room), start), "no room for one more");
        assert!(budget.take(many(0), start), "those who are there go on");
        assert!(budget.take(many(room), start + EACH * BURST), "room comes back");
    }
}
