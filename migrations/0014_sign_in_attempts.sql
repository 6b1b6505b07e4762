-- Unused since 0011: a sign-in that is under way is kept by its browser, signed.
DROP TABLE sign_in_attempts;
