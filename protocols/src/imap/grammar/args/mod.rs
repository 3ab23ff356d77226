//! Arguments of the commands that are routed or answered by them.
//!
//! Each function takes [`Command::args`](super::Command) of a whole head, literals included, and
//! reads all of it: anything left over is an error. Offsets in errors count from there.

mod acl;
mod copy;
mod create;
mod esearch;
mod list;
mod login;
mod mailbox;
mod metadata;
mod notify;
mod quota;
mod select;
mod url;

pub use acl::{AclArgs, deleteacl_args, getacl_args, listrights_args, myrights_args, setacl_args};
pub use copy::{AppendHead, CopyArgs, append_head, copy_args, replace_head};
pub use create::{CreateArgs, CreateParameters, Destination, create_args};
pub use esearch::{EsearchArgs, Source, SourceKind, esearch_args};
pub use list::{ListArgs, ListReturn, ListSelection, list_args, lsub_args};
pub use login::{AuthenticateArgs, IdPair, LoginArgs, authenticate_args, enable_args, id_args, login_args};
pub use mailbox::{
    RenameArgs, StatusArgs, XferArgs, first_mailbox, mailbox_args, rename_args, status_args, subscribe_args,
    xfer_args,
};
pub use metadata::{
    AnnotationArgs, Depth, GetMetadataArgs, SetMetadataArgs, annotation_args, getmetadata_args,
    setmetadata_args,
};
pub use notify::{EventGroup, NotifyArgs, notify_args};
pub use quota::{QuotaResource, SetQuotaArgs, getquota_args, getquotaroot_args, setquota_args};
pub use select::{Qresync, SelectArgs, select_args};
pub use url::{FetchedUrl, genurlauth_args, urlfetch_args};
