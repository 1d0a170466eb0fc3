//! The module without a line: packets in, packets out, at times that the test makes up.

use super::*;

const OPEN: &[u8] = &[0x13, 0, 0, 0, 0];

struct Bench {
    module: R30x,
    now: Instant,
    baud: Option<u32>,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self { module: R30x::default(), now: Instant::now(), baud: Some(57_600) };
        assert_eq!(bench.ask(OPEN), [0]);
        bench
    }

    /// Sends bytes, and gives what has come a second later.
    fn send(&mut self, bytes: &[u8], wait: Duration) -> Vec<u8> {
        let mut out = self.module.step(bytes, self.baud, self.now);
        self.now += wait;
        out.extend(self.module.step(&[], self.baud, self.now));
        out
    }

    /// The contents of the packets that answer.
    fn packets(&mut self, command: &[u8], wait: Duration) -> Vec<(u8, Vec<u8>)> {
        let mut line = self.send(&wire::packet(u32::MAX, COMMAND, command), wait);
        let mut packets = Vec::new();
        while let Some(heard) = wire::next(&mut line) {
            let Heard::Packet(u32::MAX, kind, content) = heard else { panic!("{heard:?}") };
            packets.push((kind, content));
        }
        packets
    }

    fn ask(&mut self, command: &[u8]) -> Vec<u8> {
        let mut packets = self.packets(command, Duration::from_secs(1));
        assert_eq!((packets.len(), packets[0].0), (1, ACK), "{packets:?}");
        packets.remove(0).1
    }
}

fn print(width: u32, height: u32) -> Gray {
    let pixel = |x: u32, y: u32| {
        let phase = (x + y / 2) as f32 * std::f32::consts::TAU / 9.0;
        (130.0 + 100.0 * phase.sin()) as u8
    };
    Gray::new(width, height, (0..width * height).map(|i| pixel(i % width, i / width)).collect()).unwrap()
}

#[test]
fn an_image_takes_its_time_and_is_that_of_the_finger() {
    let mut bench = Bench::new();
    assert_eq!(bench.ask(&[0x01]), [code::NO_FINGER]);
    assert_eq!(bench.ask(&[0x0A]), [code::NO_IMAGE]);
    let finger = print(320, 400);
    let expected = packed(&finger);
    bench.module.press(finger);
    assert_eq!(bench.ask(&[0x01]), [0]);
    assert_eq!(bench.ask(&[0x02, 1]), [0]);
    let soon = bench.packets(&[0x0A], Duration::from_secs(6));
    let rest = bench.packets(&[0x0F], Duration::from_secs(2));
    assert!(soon.len() > 200, "{}", soon.len());
    let all: Vec<_> = soon.into_iter().chain(rest).collect();
    // 288 packets of 128 bytes at 57600 baud are some seven seconds
    assert!(all.iter().any(|(kind, _)| *kind == LAST));
    let image: Vec<u8> =
        all.iter().filter(|(kind, _)| matches!(*kind, DATA | LAST)).flat_map(|(_, c)| c.clone()).collect();
    // a packet may be cut between the two readings
    assert!(image.len() >= expected.len() - 128);
    assert_eq!(image[..128 * 100], expected[..128 * 100]);
}

#[test]
fn settings_are_those_of_the_manual() {
    let mut bench = Bench::new();
    let read = bench.ask(&[0x0F]);
    assert_eq!(read, [0, 0, 4, 0, 9, 0, 0, 0, 3, 255, 255, 255, 255, 0, 2, 0, 6]);
    assert_eq!(bench.ask(&[0x0E, 6, 3]), [0]);
    assert_eq!(bench.ask(&[0x0E, 4, 13]), [code::NO_SETTING]);
    assert_eq!(bench.ask(&[0x0E, 4, 12]), [0], "the answer comes at the old speed");
    assert_eq!(bench.module.settings().baud(), 115_200);
    let unheard = bench.send(&wire::packet(u32::MAX, COMMAND, &[0x0F]), Duration::from_secs(1));
    assert!(unheard.is_empty(), "a host at the old speed is not understood");
    bench.baud = Some(115_200);
    assert_eq!(bench.ask(&[0x0F])[13..], [0, 3, 0, 12]);
    // flash outlives the power
    bench.module.power_up(bench.now);
    assert!(bench.send(&wire::packet(u32::MAX, COMMAND, OPEN), Duration::from_millis(400)).is_empty());
    bench.now += Duration::from_secs(1);
    assert_eq!(bench.ask(&[0x0F]), [code::LOCKED]);
    assert_eq!(bench.ask(&[0x13, 0, 0, 0, 1]), [code::WRONG_PASSWORD]);
    assert_eq!(bench.ask(OPEN), [0]);
    assert_eq!(bench.module.settings().data_size, 3);
}

#[test]
fn strangers_are_not_answered_and_damage_is() {
    let mut bench = Bench::new();
    let second = Duration::from_secs(1);
    assert!(bench.send(&wire::packet(7, COMMAND, OPEN), second).is_empty());
    let mut damaged = wire::packet(u32::MAX, COMMAND, OPEN);
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(bench.send(&damaged, second), wire::packet(u32::MAX, ACK, &[code::DAMAGED]));
    assert_eq!(bench.ask(&[0x99]), [code::DAMAGED]);
    assert_eq!(bench.ask(&[0x0F]).len(), 17, "and all is well again");
}

#[test]
fn every_fault_has_a_name_and_shows() {
    for (name, fault) in Fault::ALL {
        assert_eq!(name.parse(), Ok(*fault));
        let mut bench = Bench::new();
        bench.module.press(print(256, 288));
        let mut healthy = Bench::new();
        healthy.module.press(print(256, 288));
        let run = |bench: &mut Bench| -> Vec<Vec<u8>> {
            [(&[0x01][..], 100), (&[0x0A], 9_000), (&[0x0E, 4, 12], 400), (&[0x0F], 400)]
                .iter()
                .map(|(command, millis)| {
                    let packet = wire::packet(u32::MAX, COMMAND, command);
                    bench.send(&packet, Duration::from_millis(*millis))
                })
                .collect()
        };
        bench.module.set_fault(Some(*fault), bench.now);
        assert!(run(&mut bench) != run(&mut healthy), "{name}");
    }
    assert!("wet".parse::<Fault>().is_err());
}
