//! Kubernetes quantities (`64Mi`, `1.5Gi`, `100k`, `1e6`, `4096`) as numbers of bytes.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use thiserror::Error;

/// Longest text that is looked at: more digits than any size has.
const TEXT_BYTES_MAX: usize = 32;

/// Most digits that a plain quantity has: those of 16Ti in bytes, and one more.
const PLAIN_DIGITS_MAX: usize = 15;

/// Suffixes and what they multiply by, largest first within each family.
const SUFFIXES: [(&str, u64); 12] = [
    ("Ei", 1 << 60),
    ("Pi", 1 << 50),
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("E", 1_000_000_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
];

/// A quantity as someone wrote it. It is kept as text, so that an object that is read and written again looks the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Quantity(String);

impl Quantity {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number of bytes.
    ///
    /// # Errors
    /// When the text is not a quantity, or not a whole number of bytes below 2^64.
    pub fn bytes(&self) -> Result<u64, QuantityError> {
        parse(&self.0)
    }

    /// Whether it is a whole number with an optional suffix, not 0 and without zeros in front.
    pub(crate) fn is_plain(&self) -> bool {
        let digits = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let (number, suffix) = self.0.split_at(digits);
        let known = suffix.is_empty() || SUFFIXES.iter().any(|(name, _)| *name == suffix);
        (1..=PLAIN_DIGITS_MAX).contains(&digits) && !number.starts_with('0') && known
    }
}

impl From<&str> for Quantity {
    fn from(text: &str) -> Quantity {
        Quantity(text.to_owned())
    }
}

impl From<u64> for Quantity {
    fn from(bytes: u64) -> Quantity {
        Quantity(format(bytes))
    }
}

impl<'de> Deserialize<'de> for Quantity {
    /// Takes a string or, as Kubernetes does, a plain integer.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Quantity, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Quantity;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a quantity such as `64Mi`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                Ok(Quantity::from(text))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Quantity, E> {
                Ok(Quantity(number.to_string()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Quantity, E> {
                Ok(Quantity(number.to_string()))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kubernetes-int-or-string": true })
    }
}

/// Why a text is not a number of bytes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QuantityError {
    /// Nothing there.
    #[error("is empty; write a size such as `64Mi`")]
    Empty,
    /// No sensible size is this long.
    #[error("has {0} characters, which no size needs; write one such as `64Mi`")]
    TooLong(usize),
    /// It does not begin with a number.
    #[error("`{0}` is not a number with an optional suffix; write a size such as `64Mi`")]
    NotANumber(String),
    /// It is below zero.
    #[error("`{0}` is negative; write a size such as `64Mi`")]
    Negative(String),
    /// The suffix is not one of Kubernetes'.
    #[error(
        "`{text}` has the unknown suffix `{suffix}`; use Ki, Mi, Gi, Ti (powers of 1024) or k, M, G, T (of 1000)"
    )]
    UnknownSuffix {
        /// The whole text.
        text: String,
        /// What follows the number.
        suffix: String,
    },
    /// Parts of a byte.
    #[error("`{0}` is not a whole number of bytes; did you mean a suffix such as `Mi`?")]
    Fraction(String),
    /// It does not fit.
    #[error("`{0}` is 2^64 bytes or more, which no machine has")]
    TooLarge(String),
}

/// Reads a Kubernetes quantity as a number of bytes.
///
/// # Errors
/// When `text` is not a quantity, or not a whole number of bytes below 2^64.
pub fn parse(text: &str) -> Result<u64, QuantityError> {
    if text.is_empty() {
        return Err(QuantityError::Empty);
    }
    if text.len() > TEXT_BYTES_MAX {
        return Err(QuantityError::TooLong(text.len()));
    }
    let shown = || text.escape_debug().to_string();
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let number_len = unsigned.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, suffix) = unsigned.split_at(number_len);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0 || fraction.contains('.') {
        return Err(QuantityError::NotANumber(shown()));
    }
    if negative {
        return Err(QuantityError::Negative(shown()));
    }
    let scale = scale(suffix).ok_or_else(|| QuantityError::UnknownSuffix {
        text: shown(),
        suffix: suffix.escape_debug().to_string(),
    })?;

    // At most 31 digits, so the number itself fits into 128 bits; what multiplies it may not.
    let digits = format!("{whole}{fraction}");
    let number: u128 = digits.parse().map_err(|_| QuantityError::NotANumber(shown()))?;
    let product = number.checked_mul(scale.times).ok_or_else(|| QuantityError::TooLarge(shown()))?;
    let decimals =
        u32::try_from(fraction.len()).ok().and_then(|places| places.checked_add(scale.divide_by_ten));
    let divisor = decimals.and_then(|places| 10_u128.checked_pow(places));
    match divisor {
        Some(divisor) if product.is_multiple_of(divisor) => {
            u64::try_from(product / divisor).map_err(|_| QuantityError::TooLarge(shown()))
        }
        None if product == 0 => Ok(0),
        Some(_) | None => Err(QuantityError::Fraction(shown())),
    }
}

/// What a suffix does: multiply by `times`, then divide by ten `divide_by_ten` times.
struct Scale {
    times: u128,
    divide_by_ten: u32,
}

fn scale(suffix: &str) -> Option<Scale> {
    let times = |times: u128| Some(Scale { times, divide_by_ten: 0 });
    if suffix.is_empty() {
        return times(1);
    }
    if let Some((_, factor)) = SUFFIXES.iter().find(|(name, _)| *name == suffix) {
        return times(u128::from(*factor));
    }
    // Kubernetes also knows thousandths (`m`), millionths (`u`) and billionths (`n`).
    let thousandths = match suffix {
        "m" => 3,
        "u" => 6,
        "n" => 9,
        _ => 0,
    };
    if thousandths > 0 {
        return Some(Scale { times: 1, divide_by_ten: thousandths });
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    if exponent < 0 {
        return Some(Scale { times: 1, divide_by_ten: exponent.unsigned_abs() });
    }
    times(10_u128.checked_pow(exponent.unsigned_abs()).unwrap_or(u128::MAX))
}

/// Writes a number of bytes with the largest binary suffix that loses nothing: `65536` becomes `64Ki`.
#[must_use]
pub fn format(bytes: u64) -> String {
    let binary = SUFFIXES.iter().filter(|(name, _)| name.ends_with('i'));
    let fits = |factor: u64| bytes >= factor && bytes.is_multiple_of(factor);
    match binary.into_iter().find(|(_, factor)| fits(*factor)) {
        Some((name, factor)) => format!("{}{name}", bytes / factor),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_quantities() {
        let table = [
            ("0", 0),
            ("1", 1),
            ("4096", 4096),
            ("+5", 5),
            ("4Ki", 4096),
            ("64Mi", 64 << 20),
            ("1Gi", 1 << 30),
            ("16Ti", 16 << 40),
            ("15Ei", 15 << 60),
            ("1k", 1000),
            ("100M", 100_000_000),
            ("2G", 2_000_000_000),
            ("1E", 1_000_000_000_000_000_000),
            ("1.5Gi", 3 << 29),
            (".5Ki", 512),
            ("1.", 1),
            ("1e3", 1000),
            ("1E3", 1000),
            ("40960e-1", 4096),
            ("4096000m", 4096),
            ("0.000", 0),
        ];
        for (text, bytes) in table {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        assert_eq!(parse("18446744073709551615"), Ok(u64::MAX));
    }

    #[test]
    fn bad_quantities() {
        use QuantityError as E;
        let suffix = |text: &str, suffix: &str| E::UnknownSuffix { text: text.into(), suffix: suffix.into() };
        let table = [
            ("", E::Empty),
            ("Mi", E::NotANumber("Mi".into())),
            (".", E::NotANumber(".".into())),
            ("1.2.3", E::NotANumber("1.2.3".into())),
            ("- 1", E::NotANumber("- 1".into())),
            (" 1", E::NotANumber(" 1".into())),
            ("-1Mi", E::Negative("-1Mi".into())),
            ("64MB", suffix("64MB", "MB")),
            ("64mi", suffix("64mi", "mi")),
            ("64 Mi", suffix("64 Mi", " Mi")),
            ("1K", suffix("1K", "K")),
            ("1e", suffix("1e", "e")),
            ("1e3k", suffix("1e3k", "e3k")),
            ("1\u{7}", suffix("1\\u{7}", "\\u{7}")),
            ("64m", E::Fraction("64m".into())),
            ("0.5", E::Fraction("0.5".into())),
            ("1e-2147483647", E::Fraction("1e-2147483647".into())),
            ("18446744073709551616", E::TooLarge("18446744073709551616".into())),
            ("16Ei", E::TooLarge("16Ei".into())),
            ("1e30", E::TooLarge("1e30".into())),
            ("9e2147483647", E::TooLarge("9e2147483647".into())),
        ];
        for (text, error) in table {
            assert_eq!(parse(text), Err(error), "{text:?}");
        }
        assert_eq!(parse(&"9".repeat(33)), Err(E::TooLong(33)));
    }

    #[test]
    fn written_and_read_again() {
        for (bytes, text) in [
            (0, "0"),
            (1, "1"),
            (1000, "1000"),
            (1024, "1Ki"),
            (1536, "1536"),
            (6144, "6Ki"),
            (64 << 20, "64Mi"),
            (1 << 60, "1Ei"),
        ] {
            assert_eq!(format(bytes), text);
            assert_eq!(parse(text), Ok(bytes));
        }
    }
}
