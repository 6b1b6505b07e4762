//! What browsers and scripts hold: random, and never stored here.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::SignInError;

/// 256 random bits, 43 characters that need no quoting anywhere.
pub(crate) fn random() -> Result<String, SignInError> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(SignInError::NoRandomness)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}
