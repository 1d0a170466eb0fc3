//! The daemon is killed at any moment of a registration and of a rotation: a device ends Ready, with one key.

use std::time::Duration;

use biotrust_tests::site::{PATIENCE, Plan, Site};
use biotrust_tests::wait;
use serde_json::json;

use crate::{captured, informed, living_keys};

/// Moments after the start at which the daemon is killed, in milliseconds; the last ones come after the work is done.
const MOMENTS: [u64; 8] = [0, 20, 60, 120, 200, 350, 600, 1000];

/// Starts the daemon again and looks at everything that a crash could have spoiled.
#[track_caller]
fn whole_again(site: &mut Site, at: &str) {
    site.start_daemon();
    for serial in site.serials.clone() {
        // What was begun is brought to its end first. Then the provider knows of one key, and it is the one in use.
        let settled = wait::until(PATIENCE, || {
            let shown = site.shown(&serial);
            let at_rest = shown["status"] == "Ready" && shown["management"]["doing"].is_null();
            let keys = at_rest.then(|| living_keys(site, &serial)).unwrap_or_default();
            let one = keys.len() == 1 && keys[0]["certificate"] == shown["certificate"]["sha256"];
            one.then(|| shown["certificate"]["sha256"].clone())
        });
        let settled = settled.unwrap_or_else(|| {
            panic!(
                "{at}: {:#}\n{:#}",
                site.shown(&serial),
                site.registered(&serial).unwrap_or_default()["keys"]
            )
        });
        let pair = captured(site, &serial);
        assert_eq!(settled, pair.certificate.as_str(), "{at}: {serial}");
        assert_eq!(pair, informed(site, &serial), "{at}: {serial}");
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
