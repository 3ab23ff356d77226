//! Access control lists and quotas.

use super::super::acl::ALL;
use super::super::command::{Value, astring};
use super::super::mailbox::external;
use super::super::registry::Tell;
use super::super::store::{Registration, Undo};
use super::{Answer, Reply, Scene};

fn named(scene: &Scene<'_>, arguments: &[Value]) -> Result<(String, String), Reply> {
    let name = scene.name(arguments.first()).ok_or_else(|| Reply::bad("a mailbox is missing"))?;
    let outside = astring(&external(&name, &scene.user.name));
    Ok((name, outside))
}

pub(super) fn getacl(scene: &mut Scene<'_>, arguments: &[Value]) -> Answer {
    let (name, outside) = named(scene, arguments)?;
    let entries = scene.allowed(&name, 'a')?.acl.entries().to_vec();
    let entries: String = entries.iter().map(|(id, rights)| format!(" {} {rights}", astring(id))).collect();
    scene.write(&format!("* ACL {outside}{entries}"));
    Ok(Reply::ok("Completed"))
}

pub(super) fn setacl(scene: &mut Scene<'_>, arguments: &[Value]) -> Answer {
    let (Some(id), Some(rights)) =
        (arguments.get(1).and_then(Value::text), arguments.get(2).and_then(Value::text))
    else {
        return Err(Reply::bad("SETACL wants a mailbox, an identifier and rights"));
    };
    change(scene, arguments, &id, &rights)
}

pub(super) fn deleteacl(scene: &mut Scene<'_>, arguments: &[Value]) -> Answer {
    let id = arguments.get(1).and_then(Value::text);
    let id = id.ok_or_else(|| Reply::bad("DELETEACL wants a mailbox and an identifier"))?;
    change(scene, arguments, &id, "")
}

fn change(scene: &mut Scene<'_>, arguments: &[Value], id: &str, rights: &str) -> Answer {
    let (name, _) = named(scene, arguments)?;
    scene.allowed(&name, 'a')?;
    if !scene.hall.master_is_reachable {
        return Err(Reply::no("no connection to server"));
    }
    let mailbox = scene.allowed(&name, 'a')?;
    if !mailbox.acl.set(id, rights) {
        return Err(Reply::bad("unknown right"));
    }
    let tells = vec![Tell::Activate { name, acl: mailbox.acl.wire() }];
    let refused = "unable to tell the mupdate server";
    Ok(Reply::Register(Registration { tells, undo: Undo::Nothing, refused }))
}

pub(super) fn myrights(scene: &mut Scene<'_>, arguments: &[Value]) -> Answer {
    let (name, outside) = named(scene, arguments)?;
    let rights = scene.rights(&name);
    if rights.is_empty() {
        return Err(Reply::no("Mailbox does not exist"));
    }
    scene.write(&format!("* MYRIGHTS {outside} {rights}"));
    Ok(Reply::ok("Completed"))
}

pub(super) fn listrights(scene: &mut Scene<'_>, arguments: &[Value]) -> Answer {
    let (name, outside) = named(scene, arguments)?;
    let id = arguments.get(1).and_then(Value::text);
    let id = id.ok_or_else(|| Reply::bad("LISTRIGHTS wants a mailbox and an identifier"))?;
    scene.allowed(&name, 'a')?;
    let optional: String = ALL.chars().flat_map(|c| [' ', c]).collect();
    scene.write(&format!("* LISTRIGHTS {outside} {} \"\"{optional}", astring(&id)));
    Ok(Reply::ok("Completed"))
}

/// There are no limits here, and so no root.
pub(super) fn getquotaroot(scene: &mut Scene<'_>, arguments: &[Value]) -> Answer {
    let (name, outside) = named(scene, arguments)?;
    scene.allowed(&name, 'l')?;
    scene.write(&format!("* QUOTAROOT {outside}"));
    Ok(Reply::ok("Completed"))
}
