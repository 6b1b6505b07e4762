#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

mod compose;
