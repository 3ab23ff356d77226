//! What clients are told. Codes and most texts are Cyrus'.

use std::borrow::Cow;

/// One reply, its line ends included.
pub(super) type Text = Cow<'static, [u8]>;

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub(super) const $name: Text = Cow::Borrowed($text);)*
    };
}

texts! {
    OK = b"250 2.0.0 ok\r\n";
    SENDER_OK = b"250 2.1.0 ok\r\n";
    RECIPIENT_OK = b"250 2.1.5 ok\r\n";
    GO_AHEAD = b"354 go ahead\r\n";
    BYE = b"221 2.0.0 bye\r\n";
    TRY_RCPT = b"252 2.3.3 try RCPT to attempt delivery\r\n";
    /// What is no command.
    SYNTAX = b"500 5.5.2 Syntax error\r\n";
    STOPPING = b"421 4.3.2 server is stopping\r\n";
    TOO_MANY_BAD = b"421 4.7.0 too many commands that are none\r\n";
    TIMED_OUT = b"421 4.4.2 bye idle for too long\r\n";
    LOG_IN_LATER = b"430 Authentication required\r\n";
    LOG_IN_FIRST = b"530 Authentication required\r\n";
    /// A mailbox that is being created or moved, or is not where the list has it.
    MOVING = b"451 4.2.1 Mailbox is being moved or made\r\n";
    /// Nothing can be said of a mailbox.
    UNKNOWN = b"451 4.3.0 Mailbox list is not in step, try again\r\n";
    /// A backend answered what is no answer.
    CONFUSED = b"451 4.3.0 Server did not understand, try again\r\n";
    UNAVAILABLE = b"451 4.4.3 Server(s) unavailable to complete operation\r\n";
    /// The message may have been delivered.
    LOST = b"451 4.4.2 Connection to the server was lost\r\n";
    TOO_MANY_RECIPIENTS = b"452 4.5.3 Too many recipients\r\n";
    TOO_LONG = b"500 5.5.2 Line too long\r\n";
    NESTED_MAIL = b"503 5.5.1 Nested MAIL command\r\n";
    NEED_MAIL = b"503 5.5.1 Need MAIL command\r\n";
    NO_RECIPIENTS = b"503 5.5.1 No recipients\r\n";
    AUTH_NOT_NOW = b"503 5.5.0 AUTH not permitted now\r\n";
    AUTH_AGAIN = b"503 5.5.0 already authenticated\r\n";
    STARTTLS_NOT_NOW = b"503 5.5.0 STARTTLS not permitted now\r\n";
    STARTTLS_AGAIN = b"454 4.3.3 Already successfully executed STARTTLS\r\n";
    BEGIN_TLS = b"220 Begin TLS negotiation now\r\n";
    AUTHENTICATED = b"235 Authenticated!\r\n";
    AUTH_UNAVAILABLE = b"454 4.7.0 authentication temporarily unavailable\r\n";
    AUTH_CANCELLED = b"501 5.5.4 client canceled authentication\r\n";
    AUTH_GARBLED = b"501 5.5.4 authentication exchange failed\r\n";
    AUTH_MECHANISM = b"504 Unrecognized authentication type.\r\n";
    AUTH_FAILED = b"535 5.7.8 authentication failure\r\n";
    TRACE_INVALID = b"501 5.5.4 Invalid TRACE id.\r\n";
    NO_MAILBOX = b"550-Mailbox unknown.  Either there is no mailbox associated with this\r\n550-name or you do not have authorization to see it.\r\n550 5.1.1 User unknown\r\n";
    MAY_NOT_POST = b"550 5.7.1 Permission denied\r\n";
    TOO_LARGE = b"552 5.2.3 Message exceeds fixed maximum message size\r\n";
    HAS_NUL = b"554 5.6.0 Message contains NUL characters\r\n";
    LONG_LINE = b"554 5.6.0 Message contains a line that is too long\r\n";
}
