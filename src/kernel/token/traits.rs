//! `Debug` and `Default` for tokens: the default is the token that names no task.

use super::Token;

impl Default for Token {
    fn default() -> Self {
        Token::NOBODY
    }
}

impl core::fmt::Debug for Token {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}/{}.{}", self.lane(), self.slot(), self.generation())
    }
}
