//! The scrambling from the reader's side.

/// Places, counted from 1, whose parity enters at the top of the shift register.
const TAPS: [u32; 11] = [1, 3, 4, 7, 11, 13, 20, 23, 26, 29, 32];
/// Places, counted from 0, of the bits that hide a byte, its lowest bit first.
const HIDING: [u32; 8] = [4, 8, 11, 14, 18, 21, 24, 29];

/// The key of a number: any function will do, the host asks for its value.
pub(super) fn key(number: u8) -> u32 {
    u32::from(number).wrapping_add(0x51).wrapping_mul(0x9e37_79b9) | 1
}

/// The register with the key in it.
pub(super) struct Register(pub(super) u32);

impl Register {
    pub(super) fn shift(&mut self) {
        let parity = TAPS.iter().fold(0, |parity, tap| parity ^ self.0 >> (tap - 1) & 1);
        self.0 = self.0 >> 1 | parity << 31;
    }

    fn hiding(&self) -> u8 {
        let bits = HIDING.iter().enumerate();
        bits.map(|(at, place)| ((self.0 >> place & 1) as u8) << at).sum()
    }

    /// Hides each byte of a block in the place of its successor; the last one is not sent.
    pub(super) fn scramble(&mut self, block: &mut [u8]) {
        let mut carried = self.0 as u8;
        for byte in block {
            let hidden = *byte ^ self.hiding();
            *byte = std::mem::replace(&mut carried, hidden);
            self.shift();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by a script that follows the description bit by bit.
    #[test]
    fn the_register_shifts_as_described() {
        let mut register = Register(0x1234_5678);
        let hiding: Vec<u8> = (0..4)
            .map(|_| {
                let byte = register.hiding();
                register.shift();
                byte
            })
            .collect();
        assert_eq!(hiding, [0x39, 0x47, 0x13, 0x14]);
        let mut register = Register(1);
        (0..1000).for_each(|_| register.shift());
        assert_eq!(register.0, 0xe188_ad17);
    }

    #[test]
    fn a_block_is_hidden_one_place_on() {
        let (mut register, again) = (Register(0x1234_5678), Register(0x1234_5678));
        let mut block = [0, 0, 0, 0];
        register.scramble(&mut block);
        assert_eq!(block[1..], [0x39, 0x47, 0x13]);
        let mut four = again;
        (0..4).for_each(|_| four.shift());
        assert_eq!(register.0, four.0);
    }
}
