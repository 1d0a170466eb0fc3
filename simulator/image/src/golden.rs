//! The generators draw the same pictures everywhere and for ever: hashes of small ones.
//!
//! Where a change is meant, put the new hashes here, and raise [`GENERATOR_VERSION`] when a master changed: old ones are on
//! people's disks.

use biotrust_imaging::Gray;
use biotrust_model::Purpose;
use sha2::{Digest, Sha256};

use crate::face;
use crate::finger::cache::GENERATOR_VERSION;
use crate::finger::impression::{Touch, impression};
use crate::finger::master::Master;
use crate::iris::Eye;
use crate::random::Random;

fn random(key: u64) -> Random {
    Random::new(*b"golden  ", &[key])
}

fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn print(quality: f32) -> Gray {
    let master = Master::grow(96, 120, &mut random(1));
    let touch = Touch { angle: 0.1, shift: (2.0, -3.0), contact: (0.9, 0.95), quality };
    impression(&master, &touch, &mut random(2)).unwrap()
}

#[test]
fn master() {
    let ridges: Vec<u8> = Master::grow(96, 120, &mut random(1)).ridges.iter().map(|r| *r as u8).collect();
    assert_eq!(
        (GENERATOR_VERSION, hash(&ridges).as_str()),
        (1, "b6063f17afb58f7896d05702bd21762b34b680cfdb737cd2cbaf618d14747403")
    );
}

#[test]
fn impressions() {
    assert_eq!(hash(print(1.0).pixels()), "18db90581dbd4767153027188376166684230507314dd02199cb0653d6cc1f2c");
    assert_eq!(hash(print(0.3).pixels()), "4fc3cef0269b0beaf056d1f1e338adef3da94613fcd5f3a73443ec8621414f5b");
}

#[test]
fn eyes() {
    let eye = Eye::new(&mut random(3));
    let open = eye.capture(Purpose::Registration, 1.0, &mut random(4)).unwrap().image;
    let masked = eye.capture(Purpose::Auth, 0.4, &mut random(5)).unwrap().image;
    assert_eq!(hash(open.pixels()), "f6bd4dd21969c100366344df40980d49d478bcd7f331d5e2de020fe892f90e81");
    assert_eq!(hash(masked.pixels()), "44517991df3d68cc1c32aa164eaeb2f56053ff5e5df44d43df88269b5dc4b0a9");
}

#[test]
fn faces() {
    let (portrait, exception) = face::small_pictures(6).unwrap();
    assert_eq!(hash(portrait.pixels()), "863e1fef3e6b33ae6dad8e668123792a4fa890e1efa0f1b1a2c3e848eb99d89d");
    assert_eq!(hash(exception.pixels()), "f6ffde170ccefeca8c6af9ee052da8d93f64fca11d66566fe9fe1f6ca8ac5436");
    let photo = face::shoot(&portrait, 0.5, &mut random(7)).unwrap();
    assert_eq!(hash(photo.pixels()), "1945064e819ad44ed1da56e958ffb57e72d5bbd92d95b55e2e05689cfba9ffd4");
}
