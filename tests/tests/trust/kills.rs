//! The daemon is killed at any moment of a registration and of a rotation: a device ends Ready, with one key.

use std::time::Duration;

use biotrust_tests::site::{PATIENCE, Plan, Site};
use biotrust_tests::wait;
use serde_json::json;

use crate::{captured, informed, living_keys};

/// Moments after the start at which the daemon is killed, in milliseconds; the last ones come after the work is done.
const MOMENTS: [u64; 8] = [0, 20, 60, 120, 200, 350, 600, 1000];

/// Starts the daemon again and looks at everything that a crash could have spoiled: the device is Ready, and the key that signs
/// captures and device info is the one that the daemon shows and the only one that the provider takes for being in use.
#[track_caller]
fn whole_again(site: &mut Site, at: &str) {
    site.start_daemon();
    for serial in site.serials.clone() {
        site.ready(&serial);
        // What was begun is brought to its end first, which changes the key once more.
        let at_rest = wait::until(PATIENCE, || {
            let (pair, keys) = (captured(site, &serial), living_keys(site, &serial));
            let shown = site.shown(&serial);
            let one = keys.len() == 1 && keys[0]["certificate"] == pair.certificate.as_str();
            let same = informed(site, &serial) == pair
                && shown["certificate"]["sha256"] == pair.certificate.as_str();
            (one && same && shown["management"]["doing"].is_null()).then_some(())
        });
        assert!(at_rest.is_some(), "{at}: {:#}\n{:#?}", site.shown(&serial), site.registered(&serial));
    }
}

#[test]
fn a_registration_survives_a_kill_at_any_moment() {
    for after in MOMENTS {
        let mut site = Site::without_daemon(&Plan { level: "mixed", ..Plan::default() });
        site.start_daemon();
        wait::pause(Duration::from_millis(after));
        site.kill_daemon();
        whole_again(&mut site, &format!("killed {after} ms after the start"));
    }
}

#[test]
fn a_rotation_survives_a_kill_at_any_moment() {
    let mut site = Site::start(&Plan { level: "mixed", ..Plan::default() });
    let serials = site.serials.clone();
    serials.iter().for_each(|serial| drop(site.ready(serial)));
    for after in MOMENTS {
        let socket = site.path("control.sock");
        let orders: Vec<_> = serials
            .iter()
            .map(|serial| {
                let order = json!({"op": "rotate", "serial": serial});
                let mut stream =
                    std::os::unix::net::UnixStream::connect(&socket).expect("the control socket");
                std::io::Write::write_all(&mut stream, format!("{order}\n").as_bytes()).expect("an order");
                stream // open until the daemon is gone: nobody waits for an answer
            })
            .collect();
        wait::pause(Duration::from_millis(after));
        site.kill_daemon();
        drop(orders);
        whole_again(&mut site, &format!("killed {after} ms after the order"));
    }
}
