//! Variable-length integers: zig-zag, then groups of seven bits, the lowest first.
//!
//! Reading is as tolerant as Kafka's: longer encodings than needed are accepted, bits beyond the type's width in the
//! last byte are dropped, and only an integer that does not end within 5 (or 10) bytes is refused. Writing is always
//! the shortest form. The invariant it owns: `length_of_*` is what `put_*` appends, and `store_*` stores.

use crate::error::Corruption;

/// The longest 32-bit integer.
pub(crate) const MAX_VARINT_BYTES: usize = 5;
/// The longest 64-bit integer.
pub(crate) const MAX_VARLONG_BYTES: usize = 10;

const CONTINUES: u8 = 0x80;

/// Reads a 32-bit integer off the front of `input`.
#[inline]
pub(crate) fn take_varint(input: &mut &[u8]) -> Result<i32, Corruption> {
    match *input {
        [first, rest @ ..] if *first < CONTINUES => {
            *input = rest;
            Ok(unzigzag32(u32::from(*first)))
        }
        [first, second, rest @ ..] if *second < CONTINUES => {
            *input = rest;
            Ok(unzigzag32(u32::from(first & !CONTINUES) | u32::from(*second) << 7))
        }
        _ => take_long_varint(input),
    }
}

/// Reads a 64-bit integer off the front of `input`.
#[inline]
pub(crate) fn take_varlong(input: &mut &[u8]) -> Result<i64, Corruption> {
    match *input {
        [first, rest @ ..] if *first < CONTINUES => {
            *input = rest;
            Ok(unzigzag64(u64::from(*first)))
        }
        [first, second, rest @ ..] if *second < CONTINUES => {
            *input = rest;
            Ok(unzigzag64(u64::from(first & !CONTINUES) | u64::from(*second) << 7))
        }
        _ => take_long_varlong(input),
    }
}

/// A few bytes of input, from which short integers are taken without asking for each byte whether it is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window<'a, const N: usize> {
    bytes: &'a [u8; N],
    /// Bytes taken so far.
    pub(super) taken: usize,
}

impl<'a, const N: usize> Window<'a, N> {
    /// The first bytes of `input`, if there are as many.
    #[inline(always)]
    pub(super) fn of(input: &'a [u8]) -> Option<Window<'a, N>> {
        const { assert!(N.is_power_of_two()) };
        Some(Window { bytes: input.first_chunk()?, taken: 0 })
    }

    /// Takes an integer of at most three bytes, still folded; `None` for a longer one. Whoever takes more than there is
    /// begins anew.
    #[inline(always)]
    pub(super) fn take(&mut self) -> Option<u32> {
        let first = u32::from(self.byte());
        if first < 0x80 {
            return Some(first);
        }
        let second = u32::from(self.byte());
        if second < 0x80 {
            return Some(first - 0x80 + (second << 7));
        }
        let third = u32::from(self.byte());
        if third < 0x80 { Some(first - 0x80 + ((second - 0x80) << 7) + (third << 14)) } else { None }
    }

    /// Takes one byte.
    #[inline(always)]
    pub(super) fn byte(&mut self) -> u8 {
        let byte = self.bytes[self.taken & (N - 1)];
        self.taken += 1;
        byte
    }
}

/// Appends a 32-bit integer.
#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_folded(out, u64::from(zigzag32(value)));
}

/// Appends a 64-bit integer.
#[inline]
pub(crate) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    put_folded(out, zigzag64(value));
}

/// How many bytes [`put_varint`] appends.
#[inline]
pub(crate) fn length_of_varint(value: i32) -> usize {
    length_of_folded(u64::from(zigzag32(value)))
}

/// How many bytes [`put_varlong`] appends.
#[inline]
pub(crate) fn length_of_varlong(value: i64) -> usize {
    length_of_folded(zigzag64(value))
}

/// Stores an integer of 64 bits at the front of `out`, which is what is behind it from then on. One of 32 bits is
/// encoded alike.
///
/// # Panics
/// Where there is no room.
#[inline]
pub(crate) fn store_varlong(out: &mut &mut [u8], value: i64) {
    store_folded(out, zigzag64(value));
}

/// An integer from −2^13 to 2^13 − 1, as most in a batch are: its encoding has one byte or two, and how many takes no branch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShortVarint {
    folded: u64,
}

impl ShortVarint {
    /// One more than the largest; its negative is the smallest.
    pub(crate) const END: i64 = 1 << 13;

    #[inline(always)]
    pub(crate) fn of(value: i64) -> ShortVarint {
        debug_assert!((-ShortVarint::END..ShortVarint::END).contains(&value));
        ShortVarint { folded: zigzag64(value) }
    }

    #[inline(always)]
    pub(crate) fn len(self) -> usize {
        1 + usize::from(self.has_two())
    }

    /// Stores the encoding at `at`, and a byte more if it has only one; says where it ends.
    #[inline(always)]
    pub(crate) fn store_over<const N: usize>(self, out: &mut [u8; N], at: usize) -> usize {
        // What lies above the lowest seven bits is added once more, and so moves up by one: between the two is the bit that
        // says that another byte follows.
        let encoded = self.folded + (self.folded & 0x3f80) + (u64::from(self.has_two()) << 7);
        let [first, second, ..] = encoded.to_le_bytes();
        out[at..at + 2].copy_from_slice(&[first, second]);
        at + self.len()
    }

    #[inline(always)]
    fn has_two(self) -> bool {
        self.folded >= u64::from(CONTINUES)
    }
}

/// Stores a byte that stands between integers.
#[inline]
pub(crate) fn store_byte(out: &mut &mut [u8], byte: u8) {
    let (first, rest) = std::mem::take(out).split_first_mut().expect("room was made for what is stored");
    *first = byte;
    *out = rest;
}

/// Lengths of 8 KiB and more, and what is cut off or never ends.
fn take_long_varint(input: &mut &[u8]) -> Result<i32, Corruption> {
    let mut folded: u32 = 0;
    for (i, byte) in input.iter().take(MAX_VARINT_BYTES).enumerate() {
        folded |= u32::from(byte & !CONTINUES) << (7 * i);
        if *byte < CONTINUES {
            *input = &input[i + 1..];
            return Ok(unzigzag32(folded));
        }
    }
    Err(unfinished(input.len(), MAX_VARINT_BYTES))
}

/// As [`take_long_varint`], for timestamps.
fn take_long_varlong(input: &mut &[u8]) -> Result<i64, Corruption> {
    let mut folded: u64 = 0;
    for (i, byte) in input.iter().take(MAX_VARLONG_BYTES).enumerate() {
        folded |= u64::from(byte & !CONTINUES) << (7 * i);
        if *byte < CONTINUES {
            *input = &input[i + 1..];
            return Ok(unzigzag64(folded));
        }
    }
    Err(unfinished(input.len(), MAX_VARLONG_BYTES))
}

#[inline]
fn put_folded(out: &mut Vec<u8>, mut folded: u64) {
    while folded >= u64::from(CONTINUES) {
        out.push(low_group(folded) | CONTINUES);
        folded >>= 7;
    }
    out.push(low_group(folded));
}

#[inline]
fn store_folded(out: &mut &mut [u8], mut folded: u64) {
    while folded >= u64::from(CONTINUES) {
        store_byte(out, low_group(folded) | CONTINUES);
        folded >>= 7;
    }
    store_byte(out, low_group(folded));
}

#[inline]
fn low_group(folded: u64) -> u8 {
    folded.to_le_bytes()[0] & !CONTINUES
}

#[inline]
fn length_of_folded(folded: u64) -> usize {
    // 9 / 64 is a little more than 1 / 7, and near enough up to 64 bits.
    let bits = 64 - (folded | 1).leading_zeros();
    ((bits * 9 + 64) / 64) as usize
}

#[inline]
fn zigzag32(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)).cast_unsigned()
}

#[inline]
fn zigzag64(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// The integer that was folded.
#[inline]
fn unzigzag32(folded: u32) -> i32 {
    (folded >> 1).cast_signed() ^ -(folded & 1).cast_signed()
}

#[inline]
pub(super) fn unzigzag64(folded: u64) -> i64 {
    (folded >> 1).cast_signed() ^ -(folded & 1).cast_signed()
}

#[cold]
fn unfinished(available: usize, longest: usize) -> Corruption {
    if available >= longest {
        return Corruption::Varint;
    }
    let available = available as u64;
    Corruption::Truncated { needed: available + 1, available }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(value: i32) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, value);
        out
    }

    fn encoded_long(value: i64) -> Vec<u8> {
        let mut out = Vec::new();
        put_varlong(&mut out, value);
        out
    }

    // Row 1.
    #[test]
    fn small_integers_have_kafkas_bytes() {
        let images: [(i32, &[u8]); 16] = [
            (0, &[0x00]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (-65, &[0x81, 0x01]),
            (8191, &[0xfe, 0x7f]),
            (-8192, &[0xff, 0x7f]),
            (8192, &[0x80, 0x80, 0x01]),
            (-8193, &[0x81, 0x80, 0x01]),
            (1_048_575, &[0xfe, 0xff, 0x7f]),
            (134_217_727, &[0xfe, 0xff, 0xff, 0x7f]),
            (-134_217_729, &[0x81, 0x80, 0x80, 0x80, 0x01]),
            (i32::MAX, &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i32::MIN, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ];
        for (value, image) in images {
            assert_eq!(encoded(value), image, "{value}");
            let mut input = image;
            assert_eq!(take_varint(&mut input), Ok(value));
            assert!(input.is_empty());
        }
    }

    // Rows 2, 5.
    #[test]
    fn long_integers_have_kafkas_bytes_at_every_boundary() {
        for bits in 0..63 {
            for value in [(1_i64 << bits) - 1, 1 << bits, -(1 << bits), -(1 << bits) - 1] {
                let image = encoded_long(value);
                assert_eq!(image.len(), length_of_varlong(value), "{value}");
                let folded = u128::from(zigzag64(value));
                let groups = (1..=10).find(|groups| folded < 1 << (7 * groups)).unwrap();
                assert_eq!(image.len(), groups, "{value}");
                let mut input = image.as_slice();
                assert_eq!(take_varlong(&mut input), Ok(value));
                assert!(input.is_empty());
            }
        }
        assert_eq!(encoded_long(i64::MAX), [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
        assert_eq!(encoded_long(i64::MIN), [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    }

    // Rows 3, 15.
    #[test]
    fn a_varint_of_more_than_five_bytes_is_refused() {
        for image in [&[0xff; 5][..], &[0xff; 6], &[0x80, 0x80, 0x80, 0x80, 0x80, 0x01]] {
            assert_eq!(take_varint(&mut &*image), Err(Corruption::Varint));
        }
    }

    // Rows 4, 15.
    #[test]
    fn a_varlong_of_more_than_ten_bytes_is_refused() {
        for image in [&[0xff; 10][..], &[0xff; 11]] {
            assert_eq!(take_varlong(&mut &*image), Err(Corruption::Varint));
        }
    }

    // Row 15.
    #[test]
    fn longer_forms_than_needed_are_read_and_their_excess_bits_dropped() {
        assert_eq!(take_varint(&mut &[0x82, 0x80, 0x00][..]), Ok(1));
        assert_eq!(take_varint(&mut &[0xff, 0xff, 0xff, 0xff, 0x7f][..]), Ok(i32::MIN));
        assert_eq!(take_varlong(&mut &[0x82, 0x80, 0x00][..]), Ok(1));
        assert_eq!(take_varlong(&mut &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f][..]), Ok(i64::MIN));
    }

    #[test]
    fn an_integer_that_the_input_cuts_off_says_so_and_takes_nothing() {
        let mut input = &[0x80, 0x80][..];
        assert_eq!(take_varint(&mut input), Err(Corruption::Truncated { needed: 3, available: 2 }));
        assert_eq!(take_varlong(&mut input), Err(Corruption::Truncated { needed: 3, available: 2 }));
        assert_eq!(input.len(), 2);
        assert_eq!(take_varint(&mut &[][..]), Err(Corruption::Truncated { needed: 1, available: 0 }));
    }

    // Rows 5, 6.
    #[test]
    fn the_announced_length_is_the_length_written_over_a_large_range() {
        let mut value: i32 = 1;
        for step in 0..100_000_i32 {
            value = value.wrapping_mul(1_664_525).wrapping_add(step) >> (step % 31);
            let image = encoded(value);
            assert_eq!(image.len(), length_of_varint(value));
            assert_eq!(image, encoded_long(i64::from(value)), "both widths agree");
            let mut stored = vec![0; image.len()];
            store_varlong(&mut &mut stored[..], i64::from(value));
            assert_eq!(stored, image);
            assert_eq!(take_varint(&mut image.as_slice()), Ok(value));
        }
    }

    #[test]
    fn a_short_integer_has_the_same_bytes_where_it_is_stored_over_others() {
        for value in -ShortVarint::END..ShortVarint::END {
            let (short, image) = (ShortVarint::of(value), encoded_long(value));
            let mut stored = [0xa5; 4];
            assert_eq!(short.store_over(&mut stored, 1), 1 + short.len(), "{value}");
            assert_eq!(stored[1..1 + short.len()], image, "{value}");
            assert_eq!((stored[0], stored[3]), (0xa5, 0xa5), "two bytes are stored, and no more: {value}");
        }
        assert_eq!(encoded_long(ShortVarint::END).len(), 3);
        assert_eq!(encoded_long(-ShortVarint::END - 1).len(), 3);
    }

    #[test]
    fn what_a_window_takes_is_what_is_taken_otherwise_however_long_it_is_made() {
        const EDGES: [u8; 9] = [0x00, 0x01, 0x02, 0x7e, 0x7f, 0x80, 0x81, 0xfe, 0xff];
        let pairs = EDGES.into_iter().flat_map(|first| EDGES.map(|second| (first, second)));
        for (first, second, third) in pairs.flat_map(|(first, second)| EDGES.map(|third| (first, second, third))) {
            let bytes = [first, second, third, 0x7f];
            let mut rest = &bytes[..];
            let value = take_varint(&mut rest);
            let mut window = Window::<4>::of(&bytes).expect("four bytes");
            match window.take() {
                Some(folded) => {
                    assert_eq!((Ok(unzigzag32(folded)), window.taken), (value, 4 - rest.len()), "{bytes:x?}");
                    assert_eq!(unzigzag64(folded.into()), unzigzag32(folded).into(), "{bytes:x?}");
                }
                None => assert_eq!(4 - rest.len(), 4, "{bytes:x?}"),
            }
        }
    }
}
