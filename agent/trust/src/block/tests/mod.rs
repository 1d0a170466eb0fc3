//! Every check of device info and of captures against blocks that are signed with real keys: the good ones pass, and
//! each bad one differs from a good one in a single point.

mod capture;
mod draft;
mod info;

use std::sync::LazyLock;
use std::time::Duration;

use super::*;
use crate::appraise_l1;
use crate::workshop::{NOW, chip_chain, device_chain, device_store, ftm_store, identity};

const MOMENT: Moment = Moment { now: NOW, max_skew: Duration::from_secs(10) };

static DEVICE: LazyLock<AppraisedL1> = LazyLock::new(|| {
    appraise_l1(&identity(), &device_chain(), &chip_chain(), &device_store(), &ftm_store(), NOW)
        .into_device()
        .unwrap()
});

fn seconds(offset: i64) -> UtcMillis {
    UtcMillis(NOW.0 + offset * 1000)
}

#[test]
fn times_are_read_strictly_and_within_the_skew() {
    let check = |text: &str| MOMENT.check(text);
    assert_eq!(check(&NOW.to_wire()), Ok(NOW));
    assert_eq!(check(&seconds(10).to_wire()), Ok(seconds(10)));
    assert_eq!(check(&seconds(-10).to_wire()), Ok(seconds(-10)));
    assert_eq!(check(&seconds(11).to_wire()), Err(TimeFault::Skew { seconds: 11 }));
    assert_eq!(check(&seconds(-11).to_wire()), Err(TimeFault::Skew { seconds: -11 }));
    for form in ["2030-01-01T00:00:00.000Z", "2030-01-01T00:00:00+00:00", "2030-01-01T00:00:00", ""] {
        assert_eq!(check(form), Err(TimeFault::Form), "{form}");
    }
    let later = Moment { now: UtcMillis(NOW.0 + 10_999), ..MOMENT };
    assert!(later.check(&NOW.to_wire()).is_ok(), "the wire has no milliseconds");
}
