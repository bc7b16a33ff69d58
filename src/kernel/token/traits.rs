//! How a token is shown, and which one stands for none.

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
