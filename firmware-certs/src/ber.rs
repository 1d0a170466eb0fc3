//! BER to DER, as far as chains of certificates need it: MOSIP's key manager writes PKCS#7 with indefinite lengths, which
//! readers of DER refuse.
//!
//! Lengths become definite and minimal, constructed octet strings become primitive. Everything else stays as it is, so
//! DER comes out byte for byte as it went in, and signatures over it stay good. The input is trusted in nothing: depth
//! and size are limited, there is no recursion, and an error tells the offset.

/// Largest input, in bytes. A chain has some five thousand.
pub const MAX_BER_BYTES: usize = 1024 * 1024;

/// Deepest nesting. A PKCS#7 chain with its certificates has about twelve levels.
pub const MAX_BER_DEPTH: usize = 32;

const CONSTRUCTED: u8 = 0x20;
const OCTET_STRING: u8 = 0x04;

/// Why some bytes are not BER that is read here, and at which byte of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {kind}")]
pub struct BerError {
    /// Offset of the element that is wrong, from 0.
    pub offset: usize,
    /// What is wrong with it.
    pub kind: BerErrorKind,
}

/// What is wrong with an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BerErrorKind {
    /// More than [`MAX_BER_BYTES`].
    #[error("more than {MAX_BER_BYTES} bytes")]
    TooLarge,
    /// More than [`MAX_BER_DEPTH`] levels.
    #[error("more than {MAX_BER_DEPTH} levels of nesting")]
    TooDeep,
    /// The input ends inside an element.
    #[error("the data ends in the middle of an element")]
    Truncated,
    /// An element is longer than the one it lies in.
    #[error("an element is longer than the one around it")]
    Overflow,
    /// A tag of more than four bytes.
    #[error("a tag of more than four bytes")]
    Tag,
    /// A length of more than four bytes, or the reserved one.
    #[error("a length that no element of this size has")]
    Length,
    /// A primitive element with an indefinite length.
    #[error("a primitive element without a length")]
    PrimitiveIndefinite,
    /// An end mark that nothing waits for.
    #[error("an end mark where none belongs")]
    StrayEnd,
    /// A part of an octet string that is no octet string.
    #[error("a part of an octet string is no octet string")]
    MixedString,
}

/// An element that has begun and not ended.
struct Open<'a> {
    tag: &'a [u8],
    /// Where it ends; `None` for an indefinite length.
    end: Option<usize>,
    /// Nothing inside may go beyond this.
    limit: usize,
    /// A constructed octet string: its parts are joined.
    joined: bool,
    content: Vec<u8>,
}

/// Head of an element.
struct Head<'a> {
    tag: &'a [u8],
    /// `None` for an indefinite length.
    length: Option<usize>,
    /// Where its content begins.
    content: usize,
}

/// The DER of exactly one BER element, and how many bytes of `input` it took.
///
/// # Errors
/// When `input` does not begin with one, or a limit is exceeded.
pub fn to_der(input: &[u8]) -> Result<(Vec<u8>, usize), BerError> {
    let fail = |offset, kind| Err(BerError { offset, kind });
    if input.len() > MAX_BER_BYTES {
        return fail(MAX_BER_BYTES, BerErrorKind::TooLarge);
    }
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut at = 0;
    loop {
        // Close what ends here, however much does.
        while let Some(top) = open.last() {
            let ends = match top.end {
                Some(end) => at == end,
                None => input.get(at..at.saturating_add(2).min(top.limit)) == Some(&[0, 0]),
            };
            if !ends {
                break;
            }
            if top.end.is_none() {
                at += 2;
            }
            let Some(closed) = open.pop() else { break };
            match open.last_mut() {
                Some(parent) if parent.joined => parent.content.extend_from_slice(&closed.content),
                Some(parent) => write(&mut parent.content, closed.tag, closed.joined, &closed.content),
                None => {
                    let mut der = Vec::with_capacity(closed.content.len() + 8);
                    write(&mut der, closed.tag, closed.joined, &closed.content);
                    return Ok((der, at));
                }
            }
        }
        let (limit, joining) = open.last().map_or((input.len(), false), |top| (top.limit, top.joined));
        let head = head(input, at, limit)?;
        let constructed = head.tag.first().is_some_and(|first| first & CONSTRUCTED != 0);
        let octets = matches!(head.tag, [tag] if tag & !CONSTRUCTED == OCTET_STRING);
        if head.tag == [0] {
            return fail(at, BerErrorKind::StrayEnd);
        }
        if joining && !octets {
            return fail(at, BerErrorKind::MixedString);
        }
        let end = head.length.map(|length| head.content.saturating_add(length));
        if let Some(end) = end.filter(|end| *end > limit) {
            let kind = if end > input.len() { BerErrorKind::Truncated } else { BerErrorKind::Overflow };
            return fail(at, kind);
        }
        if constructed {
            if open.len() >= MAX_BER_DEPTH {
                return fail(at, BerErrorKind::TooDeep);
            }
            at = head.content;
            open.push(Open {
                tag: head.tag,
                end,
                limit: end.unwrap_or(limit),
                joined: octets,
                content: Vec::new(),
            });
            continue;
        }
        let Some(end) = end else { return fail(at, BerErrorKind::PrimitiveIndefinite) };
        let content = input.get(head.content..end).unwrap_or_default();
        at = end;
        match open.last_mut() {
            Some(parent) if parent.joined => parent.content.extend_from_slice(content),
            Some(parent) => write(&mut parent.content, head.tag, false, content),
            None => {
                let mut der = Vec::with_capacity(content.len() + 8);
                write(&mut der, head.tag, false, content);
                return Ok((der, at));
            }
        }
    }
}

/// Tag and length of the element at `at`, which must lie before `limit`.
fn head(input: &[u8], at: usize, limit: usize) -> Result<Head<'_>, BerError> {
    let fail = |kind| BerError { offset: at, kind };
    let truncated =
        || fail(if limit < input.len() { BerErrorKind::Overflow } else { BerErrorKind::Truncated });
    let byte = |index: usize| input.get(index).filter(|_| index < limit).copied();
    let mut next = at + 1;
    if byte(at).ok_or_else(truncated)? & 0x1F == 0x1F {
        while byte(next).ok_or_else(truncated)? & 0x80 != 0 {
            next += 1;
            if next - at > 3 {
                return Err(fail(BerErrorKind::Tag));
            }
        }
        next += 1;
    }
    let tag = input.get(at..next).ok_or_else(truncated)?;
    let first = byte(next).ok_or_else(truncated)?;
    next += 1;
    let length = match first {
        0x80 => None,
        short @ 0..0x80 => Some(usize::from(short)),
        0xFF => return Err(fail(BerErrorKind::Length)),
        long => {
            let mut length = 0usize;
            for _ in 0..long & 0x7F {
                let digit = usize::from(byte(next).ok_or_else(truncated)?);
                // Leading zeros may be many; what counts is that the number stays small.
                length = (length << 8) | digit;
                if length > MAX_BER_BYTES {
                    return Err(fail(BerErrorKind::Length));
                }
                next += 1;
            }
            Some(length)
        }
    };
    Ok(Head { tag, length, content: next })
}

/// Appends an element with the shortest length; `primitive` takes the mark of constructed ones off the tag.
fn write(out: &mut Vec<u8>, tag: &[u8], primitive: bool, content: &[u8]) {
    match tag {
        [first, rest @ ..] if primitive => {
            out.push(first & !CONSTRUCTED);
            out.extend_from_slice(rest);
        }
        _ => out.extend_from_slice(tag),
    }
    let length = content.len();
    if length < 0x80 {
        out.push(u8::try_from(length).unwrap_or_default());
    } else {
        let bytes = length.to_be_bytes();
        let bytes = bytes.get(length.leading_zeros() as usize / 8..).unwrap_or_default();
        out.push(0x80 | u8::try_from(bytes.len()).unwrap_or_default());
        out.extend_from_slice(bytes);
    }
    out.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forge::{Forge, key, seq, tlv};
    use proptest::prelude::*;

    fn kind(input: &[u8]) -> (usize, BerErrorKind) {
        let error = to_der(input).unwrap_err();
        (error.offset, error.kind)
    }

    #[test]
    fn der_is_left_alone() {
        let der = Forge::ca("Root").der(key(0));
        assert_eq!(to_der(&der), Ok((der.clone(), der.len())));
        let followed = [der.as_slice(), b"more"].concat();
        assert_eq!(to_der(&followed), Ok((der.clone(), der.len())), "what follows is the caller's");
    }

    #[test]
    fn indefinite_lengths_become_definite() {
        let nested = [0x30, 0x80, 0x31, 0x80, 0x02, 0x01, 0x05, 0, 0, 0x05, 0, 0, 0];
        assert_eq!(to_der(&nested), Ok((vec![0x30, 7, 0x31, 3, 2, 1, 5, 5, 0], nested.len())));
        let inside_definite = [0x30, 0x06, 0xA0, 0x80, 0x05, 0x00, 0, 0];
        assert_eq!(to_der(&inside_definite), Ok((vec![0x30, 4, 0xA0, 2, 5, 0], 8)));
        // A null whose bytes look like an end mark: only the place of an element can be one.
        assert_eq!(to_der(&[0x30, 0x80, 0x04, 0x02, 0, 0, 0, 0]), Ok((vec![0x30, 4, 4, 2, 0, 0], 8)));
    }

    #[test]
    fn lengths_become_minimal_and_long_ones_are_kept() {
        assert_eq!(to_der(&[0x04, 0x83, 0, 0, 2, 7, 8]), Ok((vec![4, 2, 7, 8], 7)));
        let long = tlv(0x04, &[&[0x11; 300]]);
        assert_eq!(to_der(&long).unwrap().0, long);
        assert_eq!(to_der(&[0x1F, 0x81, 0x02, 0x01, 0x00]).unwrap().0, [0x1F, 0x81, 0x02, 0x01, 0x00]);
    }

    #[test]
    fn octet_strings_in_parts_are_joined() {
        let parts = [0x24, 0x80, 0x04, 1, 1, 0x24, 0x80, 0x04, 2, 2, 3, 0, 0, 0x04, 0, 0, 0];
        assert_eq!(to_der(&parts), Ok((vec![4, 3, 1, 2, 3], parts.len())));
        assert_eq!(kind(&[0x24, 0x80, 0x02, 1, 1, 0, 0]), (2, BerErrorKind::MixedString));
        // An octet string inside a sequence is one of its members, not a part.
        assert_eq!(to_der(&seq(&[&[4, 1, 9], &[4, 1, 8]])).unwrap().0, [0x30, 6, 4, 1, 9, 4, 1, 8]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        assert_eq!(kind(&[]), (0, BerErrorKind::Truncated));
        assert_eq!(kind(&[0x30, 0x80, 0x05, 0x00]), (4, BerErrorKind::Truncated));
        assert_eq!(kind(&[0x30, 0x04, 0x05, 0x00]), (0, BerErrorKind::Truncated));
        assert_eq!(kind(&[0x30, 0x03, 0x04, 0x02, 1, 2]), (2, BerErrorKind::Overflow));
        assert_eq!(kind(&[0x30, 0x80, 0x04, 0x80, 0, 0]), (2, BerErrorKind::PrimitiveIndefinite));
        assert_eq!(kind(&[0x30, 0x02, 0x00, 0x00]), (2, BerErrorKind::StrayEnd));
        assert_eq!(kind(&[0x30, 0xFF]), (0, BerErrorKind::Length));
        assert_eq!(
            kind(&[0x30, 0x88, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
            (0, BerErrorKind::Length)
        );
        assert_eq!(kind(&[0x1F, 0x81, 0x81, 0x81, 0x01, 0x00]), (0, BerErrorKind::Tag));
        // The indefinite element inside must end before the definite one around it does.
        assert_eq!(kind(&[0x30, 0x04, 0xA0, 0x80, 0x05, 0x00, 0, 0]), (6, BerErrorKind::Overflow));
        let text = to_der(&[0x30, 0xFF]).unwrap_err().to_string();
        assert_eq!(text, "at byte 0: a length that no element of this size has");
    }

    #[test]
    fn depth_and_size_are_limited() {
        let deep = |levels: usize| [[0x30, 0x80].repeat(levels), [0, 0].repeat(levels)].concat();
        assert!(to_der(&deep(MAX_BER_DEPTH)).is_ok());
        assert_eq!(kind(&deep(MAX_BER_DEPTH + 1)), (2 * MAX_BER_DEPTH, BerErrorKind::TooDeep));
        assert_eq!(kind(&deep(200_000)), (2 * MAX_BER_DEPTH, BerErrorKind::TooDeep));
        assert_eq!(kind(&vec![0x30; MAX_BER_BYTES + 1]), (MAX_BER_BYTES, BerErrorKind::TooLarge));
        // Many small elements cost no more than their bytes.
        let many = [vec![0x30, 0x80], [0x30, 0x00].repeat(500_000), vec![0, 0]].concat();
        assert_eq!(to_der(&many).unwrap().1, many.len());
    }

    /// A random element in DER, and the same in BER as `how` would have it.
    fn element() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
        let leaf = (
            prop_oneof![Just(0x02u8), Just(0x04), Just(0x0C), Just(0x80)],
            prop::collection::vec(any::<u8>(), 0..200),
            any::<bool>(),
        )
            .prop_map(|(tag, content, split)| {
                let der = tlv(tag, &[&content]);
                let (a, b) = content.split_at(content.len() / 2);
                let ber = if tag == 0x04 && split {
                    [&[0x24, 0x80], tlv(4, &[a]).as_slice(), &tlv(4, &[b]), &[0, 0]].concat()
                } else {
                    der.clone()
                };
                (der, ber)
            });
        leaf.prop_recursive(6, 40, 4, |inner| {
            (
                prop_oneof![Just(0x30u8), Just(0x31), Just(0xA0)],
                prop::collection::vec(inner, 0..4),
                any::<bool>(),
            )
                .prop_map(|(tag, members, indefinite)| {
                    let (der, ber): (Vec<_>, Vec<_>) = members.into_iter().unzip();
                    let der = tlv(tag, &der.iter().map(Vec::as_slice).collect::<Vec<_>>());
                    let ber = match indefinite {
                        true => [vec![tag, 0x80], ber.concat(), vec![0, 0]].concat(),
                        false => tlv(tag, &ber.iter().map(Vec::as_slice).collect::<Vec<_>>()),
                    };
                    (der, ber)
                })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

        #[test]
        fn ber_becomes_its_der_and_der_stays((der, ber) in element()) {
            prop_assert_eq!(to_der(&ber), Ok((der.clone(), ber.len())));
            prop_assert_eq!(to_der(&der), Ok((der.clone(), der.len())));
        }

        #[test]
        fn no_bytes_panic_and_what_is_read_is_stable(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok((der, taken)) = to_der(&bytes) {
                prop_assert!(taken <= bytes.len());
                prop_assert_eq!(to_der(&der), Ok((der.clone(), der.len())));
            }
        }

        #[test]
        fn no_damaged_element_panics((_, mut ber) in element(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let at = at.index(ber.len());
            ber[at] = to;
            let _ = to_der(&ber);
            for end in 0..ber.len().min(64) {
                let _ = to_der(&ber[..end]);
            }
        }
    }
}
