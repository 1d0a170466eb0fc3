use proptest::prelude::*;

use super::*;

/// Pixels of a picture: soft waves, as ridges are.
fn wave(at: usize) -> u8 {
    let (x, y) = (at % COLUMNS, at / COLUMNS);
    (128.0 + 90.0 * f64::sin(x as f64 * 0.55 + y as f64 * 0.4)) as u8
}

/// A transfer with these blocks, in the clear.
fn transfer(rows: usize, blocks: &[(u8, u8)]) -> Vec<u8> {
    let mut transfer = vec![0; HEADER];
    transfer[ROW_COUNT..ROW_COUNT + 2].copy_from_slice(&u16::try_from(rows).unwrap().to_le_bytes());
    transfer[KEY_NUMBER] = 7;
    for (at, (flags, rows)) in blocks.iter().enumerate() {
        transfer[BLOCKS + 2 * at..BLOCKS + 2 * at + 2].copy_from_slice(&[*flags, *rows]);
    }
    transfer.extend((0..rows * COLUMNS).map(wave));
    transfer
}

/// What a reader sends for `plain`; the shift register is the one of this crate, whose stream has a test of its own.
fn scramble(stream: &mut KeyStream, plain: &mut [u8]) {
    let mut shifted = vec![0; plain.len()];
    let mut pad = vec![0; plain.len()];
    stream.descramble(&mut pad); // zeros hold the stream
    for at in 1..plain.len() {
        shifted[at] = plain[at - 1] ^ pad[at - 1];
    }
    shifted[0] = 0xa5;
    plain.copy_from_slice(&shifted);
}

/// Rows of the transfer as the picture has them.
fn rows(range: std::ops::Range<usize>) -> Vec<u8> {
    (range.start * COLUMNS..range.end * COLUMNS).map(|at| !wave(at)).collect()
}

#[test]
fn an_image_in_the_clear_is_inverted_and_turned() {
    let scan = Scan::parse(transfer(289, &[(0, 200), (0, 89)])).unwrap();
    assert_eq!(scan.wanted_key(), None);
    let upright = scan.picture(false).unwrap();
    assert_eq!((upright.width(), upright.height()), (384, 289));
    assert_eq!(upright.pixels(), rows(0..289));
    let turned = scan.picture(true).unwrap();
    assert!(turned.pixels().iter().eq(upright.pixels().iter().rev()));
}

#[test]
fn each_block_is_unlocked_by_its_key() {
    let mut bytes = transfer(280, &[(0x02, 100), (0x00, 40), (0x04, 20), (0x82, 100), (0x06, 20)]);
    let mut first = KeyStream::new(0x1234_5678);
    let mut second = KeyStream::new(0x9abc_def0);
    let block = |from: usize, to: usize| HEADER + from * COLUMNS..HEADER + to * COLUMNS;
    scramble(&mut first, &mut bytes[block(0, 100)]);
    scramble(&mut second, &mut bytes[block(160, 260)]);

    let mut scan = Scan::parse(bytes).unwrap();
    assert_eq!(scan.wanted_key(), Some(7));
    scan.unlock(KeyStream::new(0x1234_5678));
    assert_eq!(scan.wanted_key(), Some(8));
    scan.unlock(KeyStream::new(0x9abc_def0));
    assert_eq!(scan.wanted_key(), None);
    let mut expected = rows(0..280);
    for end in [100, 260] {
        expected[end * COLUMNS - 1] = 255; // the byte that a block loses
    }
    assert!(scan.picture(false).unwrap().pixels() == expected);
}

#[test]
fn a_wrong_key_gives_noise() {
    let mut bytes = transfer(200, &[(0x02, 200)]);
    scramble(&mut KeyStream::new(5), &mut bytes[HEADER..]);
    let mut scan = Scan::parse(bytes).unwrap();
    scan.unlock(KeyStream::new(6));
    assert!(is_noise(&scan.picture(false).unwrap().pixels()[..2 * COLUMNS]));
}

#[test]
fn an_image_that_only_says_that_it_is_scrambled_is_taken_as_it_is() {
    let scan = Scan::parse(transfer(200, &[(0x02, 200)])).unwrap();
    assert_eq!(scan.wanted_key(), None);
    assert!(scan.picture(false).unwrap().pixels() == rows(0..200));
}

#[test]
fn rows_that_were_not_sent_are_white_and_move_the_key() {
    let mut bytes = transfer(250, &[(0x02, 100), (0x01, 30), (0x02, 150)]);
    let mut stream = KeyStream::new(77);
    scramble(&mut stream, &mut bytes[HEADER..HEADER + 100 * COLUMNS]);
    stream.skip(30 * COLUMNS);
    scramble(&mut stream, &mut bytes[HEADER + 100 * COLUMNS..]);
    let mut scan = Scan::parse(bytes).unwrap();
    scan.unlock(KeyStream::new(77));
    let picture = scan.picture(false).unwrap();
    assert_eq!(picture.height(), 280);
    assert!(picture.pixels()[100 * COLUMNS..130 * COLUMNS].iter().all(|grey| *grey == 255));
    assert!(picture.pixels()[130 * COLUMNS..279 * COLUMNS] == rows(100..249));
}

#[test]
fn what_breaks_a_rule_is_no_image() {
    let good = transfer(289, &[(0, 200), (0, 89)]);
    assert!(Scan::parse(good.clone()).is_ok());
    let error = |bytes: Vec<u8>| Scan::parse(bytes).unwrap_err();
    assert_eq!(error(good[..63].to_vec()), ScanError::NoHeader(63));
    assert_eq!(error(good[..64].to_vec()), ScanError::Short { got: 64, expected: 64 + 289 * 384 });
    assert!(matches!(error(good[..good.len() - 1].to_vec()), ScanError::Short { .. }));
    assert_eq!(error(transfer(290, &[(0, 200), (0, 90)])), ScanError::Rows(290));
    assert_eq!(error(transfer(127, &[(0, 127)])), ScanError::Rows(127));
    assert_eq!(error(transfer(289, &[])), ScanError::Blocks(0));
    assert_eq!(error(transfer(289, &[(0, 127), (0, 0), (0, 160)])), ScanError::Blocks(127), "zero rows end");
    assert_eq!(error(transfer(289, &[(0, 180), (1, 200), (0, 90)])), ScanError::Blocks(270));
}

#[test]
fn a_last_block_that_promises_too_much_is_cut() {
    let scan = Scan::parse(transfer(200, &[(0, 190), (0, 255), (0, 255)])).unwrap();
    assert_eq!(scan.picture(false).unwrap().height(), 200);
}

#[test]
fn messages_and_debug_hold_no_pixels() {
    let scan = Scan::parse(transfer(200, &[(0x02, 200)])).unwrap();
    assert_eq!(format!("{scan:?}"), "Scan(200 rows, [Block { flags: 2, rows: 200 }])");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes, it ends, and an image has a shape that makes sense.
    #[test]
    fn any_transfer_is_an_image_or_an_error(
        header in prop::collection::vec(any::<u8>(), HEADER),
        rows in 100..300u16, tail in 0..300usize, key: u32,
    ) {
        let mut bytes = header;
        bytes[ROW_COUNT..ROW_COUNT + 2].copy_from_slice(&rows.to_le_bytes());
        bytes.extend((0..tail * COLUMNS).map(|at| (at as u32).wrapping_mul(0x9e37_79b9).to_be_bytes()[0]));
        if let Ok(mut scan) = Scan::parse(bytes) {
            let mut keys = 0;
            while scan.wanted_key().is_some() {
                scan.unlock(KeyStream::new(key));
                keys += 1;
                prop_assert!(keys <= BLOCK_COUNT + 1);
            }
            let picture = scan.picture(true).unwrap();
            prop_assert!((FEWEST_ROWS..=ROWS).contains(&(picture.height() as usize)));
        }
    }
}
