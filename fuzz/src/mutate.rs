//! New inputs out of old ones, for the harness that runs without cargo-fuzz: it cannot see what an input
//! reaches, so it stays near to inputs that are known to reach far.

/// A small generator of random numbers (SplitMix64): good enough to choose by, and the same everywhere.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next_number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        number ^ (number >> 31)
    }

    /// A number below `bound`; 0 where that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        usize::try_from(self.next_number().checked_rem(bound).unwrap_or(0)).unwrap_or(0)
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        all.get(self.below(all.len())).copied()
    }
}

/// Longer inputs only cost time.
const LONGEST: usize = 64 * 1024;

/// Bytes that stand at the edges of what formats count and quote with.
const EDGES: &[u8] =
    &[0, 1, 0x7F, 0x80, 0xFE, 0xFF, b'\n', b'\r', b'"', b'\'', b'$', b'{', b'}', b'[', b' ', b'-'];

/// An input near to `base`: changed in one to several places, joined with parts of `others` and with `words`.
pub fn mutate(random: &mut Random, base: &[u8], others: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    let mut bytes = base.to_vec();
    // Mostly few changes: an input that is changed everywhere reaches nothing.
    let changes = 1 + random.below(4) * random.below(4);
    for _ in 0..changes {
        change(random, &mut bytes, others, words);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn change(random: &mut Random, bytes: &mut Vec<u8>, others: &[Vec<u8>], words: &[&str]) {
    let at = random.below(bytes.len() + 1);
    let most = if random.below(4) == 0 { bytes.len().max(1) } else { 16 };
    let length = 1 + random.below(most);
    let end = (at + length).min(bytes.len());
    match random.below(10) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        1 if at < bytes.len() => bytes[at] = random.one_of(EDGES).unwrap_or_default(),
        2 => bytes.insert(at, u8::try_from(random.below(256)).unwrap_or_default()),
        3 => drop(bytes.drain(at..end)),
        // Doubled, some of it many times: depth and repetition are what recursion fears.
        4 => {
            let piece = bytes[at..end].to_vec();
            let times = if random.below(8) == 0 { 200 } else { 1 + random.below(3) };
            let times = times.min(LONGEST / piece.len().max(1));
            drop(bytes.splice(at..at, piece.repeat(times)));
        }
        5 | 6 => {
            if let Some(word) = random.one_of(words) {
                // In the place of something, or between.
                let end = if random.below(2) == 0 { at } else { end };
                drop(bytes.splice(at..end, word.bytes()));
            }
        }
        // Two inputs, or two places of one, joined.
        7 if !others.is_empty() => {
            let other = &others[random.below(others.len())];
            let from = random.below(other.len() + 1);
            let until = (from + length).min(other.len());
            drop(bytes.splice(at..end, other[from..until].iter().copied()));
        }
        8 => {
            let number = match random.below(6) {
                0 => "0".to_owned(),
                1 => "-1".to_owned(),
                2 => u64::MAX.to_string(),
                3 => "1e308".to_owned(),
                _ => (1_u64 << random.below(64)).to_string(),
            };
            drop(bytes.splice(at..end, number.bytes()));
        }
        _ => bytes.truncate(at),
    }
}
