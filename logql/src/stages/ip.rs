//! `ip("10.0.0.0/8")`: one address, a range `a-b`, or a network, of either family.

use std::net::IpAddr;

use crate::units::quote;

/// Addresses from the first to the last, both in, of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IpRange {
    first: IpAddr,
    last: IpAddr,
}

impl IpRange {
    /// A range from its text.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        parse(text).ok_or_else(|| format!("ip: invalid pattern: {}", quote(text)))
    }

    pub(super) fn contains(&self, ip: IpAddr) -> bool {
        match (self.first, self.last, ip) {
            (IpAddr::V4(a), IpAddr::V4(b), IpAddr::V4(ip)) => a <= ip && ip <= b,
            (IpAddr::V6(a), IpAddr::V6(b), IpAddr::V6(ip)) => a <= ip && ip <= b,
            _ => false,
        }
    }

    /// Whether the line holds an address of the range. A port behind an IPv4 address does not hide
    /// it; an IPv4 address at the end of an IPv6 one is part of that.
    pub(super) fn found_in(&self, line: &str) -> bool {
        let bytes = line.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let run = |belongs: fn(u8) -> bool| {
                bytes[at..]
                    .iter()
                    .position(|b| !belongs(*b))
                    .unwrap_or(bytes.len() - at)
            };
            let len_v6 = run(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.');
            if len_v6 == 0 {
                at += 1;
                continue;
            }
            let len_v4 = run(|b| b.is_ascii_digit() || b == b'.');
            let address = [len_v4, len_v6]
                .into_iter()
                .filter(|len| *len >= 2)
                .find_map(|len| Some((line[at..at + len].parse::<IpAddr>().ok()?, len)));
            match address {
                Some((ip, _)) if self.contains(ip) => return true,
                Some((_, len)) => at += len,
                None => at += len_v4.max(1),
            }
        }
        false
    }
}

fn parse(text: &str) -> Option<IpRange> {
    if let Ok(ip) = text.parse() {
        return Some(IpRange {
            first: ip,
            last: ip,
        });
    }
    if let Some((first, last)) = text.split_once('-') {
        let (first, last): (IpAddr, IpAddr) =
            (first.trim().parse().ok()?, last.trim().parse().ok()?);
        return (first.is_ipv4() == last.is_ipv4() && first <= last)
            .then_some(IpRange { first, last });
    }
    let (ip, bits) = text.split_once('/')?;
    let bits: u32 = bits.parse().ok()?;
    match ip.parse().ok()? {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32_u32.checked_sub(bits)?).unwrap_or(0);
            let first = u32::from(ip) & mask;
            Some(IpRange {
                first: IpAddr::V4(first.into()),
                last: IpAddr::V4((first | !mask).into()),
            })
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX
                .checked_shl(128_u32.checked_sub(bits)?)
                .unwrap_or(0);
            let first = u128::from(ip) & mask;
            Some(IpRange {
                first: IpAddr::V6(first.into()),
                last: IpAddr::V6((first | !mask).into()),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_ranges_and_single_addresses_are_read() {
        let check =
            |range: &str, ip: &str| IpRange::new(range).unwrap().contains(ip.parse().unwrap());
        assert!(check("10.0.0.0/8", "10.255.0.1"));
        assert!(!check("10.0.0.0/8", "11.0.0.1"));
        assert!(check("192.168.0.1-192.168.2.255", "192.168.1.7"));
        assert!(check("0.0.0.0/0", "1.2.3.4"));
        assert!(check("fe80::/10", "fe80::1"));
        assert!(check("::1", "::1"));
        assert_eq!(
            IpRange::new("300.1.1.1"),
            Err("ip: invalid pattern: \"300.1.1.1\"".into())
        );
        assert!(IpRange::new("10.0.0.0/33").is_err());
    }
}
