//! `Debug` and `Default` for tokens: the default is the token that names no task.

use super::Token;

impl Default for Token {
    fn default() -> Self {
        Token::NOBODY
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}.{}", self.lane(), self.slot(), self.generation())
    }
}
