//! A topic's id and its text: 16 bytes in the URL-safe alphabet of base64, 22 letters without padding.
//!
//! Knows no file. The invariant it owns: an id is not zero, which in Kafka means "none".

use std::fmt;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const LETTERS: usize = 22;

/// 128 bits, most significant first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TopicId(u128);

impl TopicId {
    pub(crate) fn new(bits: u128) -> Option<TopicId> {
        (bits != 0).then_some(TopicId(bits))
    }

    /// Reads the text, with or without the padding. The last letter carries two bits; its other four are ignored, as
    /// Java does.
    pub(crate) fn parse(text: &str) -> Option<TopicId> {
        let letters = text.strip_suffix("==").unwrap_or(text).as_bytes();
        if letters.len() != LETTERS {
            return None;
        }
        let mut bits = 0u128;
        for (place, letter) in letters.iter().enumerate() {
            let value = u128::try_from(ALPHABET.iter().position(|known| known == letter)?).ok()?;
            bits = if place == LETTERS - 1 { bits << 2 | value >> 4 } else { bits << 6 | value };
        }
        TopicId::new(bits)
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in 0..LETTERS {
            // The bits are followed by four zeros, so that the last letter has six too.
            let value = if place == LETTERS - 1 { self.0 << 4 } else { self.0 >> (122 - 6 * place) };
            let letter = usize::try_from(value & 63).expect("six bits");
            fmt::Write::write_char(f, char::from(ALPHABET[letter]))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_text_is_kafkas() {
        let id = TopicId::new(0x0123_4567_89ab_cdef_fedc_ba98_7654_3210).unwrap();
        assert_eq!(id.to_string(), "ASNFZ4mrze_-3LqYdlQyEA");
        assert_eq!(TopicId::parse("ASNFZ4mrze_-3LqYdlQyEA"), Some(id));
        assert_eq!(TopicId::parse("ASNFZ4mrze_-3LqYdlQyEA=="), Some(id));
    }

    #[test]
    fn zero_and_what_is_no_id_are_refused() {
        for text in
            ["AAAAAAAAAAAAAAAAAAAAAA", "", "ASNFZ4mrze_-3LqYdlQyE", "ASNFZ4mrze_-3LqYdlQyEAA", "ASNFZ4mrze/-3LqYdlQyEA"]
        {
            assert_eq!(TopicId::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_id_is_the_base64_of_its_bytes(bits in 1u128..) {
            let id = TopicId::new(bits).unwrap();
            prop_assert_eq!(id.to_string(), BASE64_URL_SAFE_NO_PAD.encode(bits.to_be_bytes()));
            prop_assert_eq!(TopicId::parse(&id.to_string()), Some(id));
        }
    }
}
