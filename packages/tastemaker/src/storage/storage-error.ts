import { UsageError } from "@tastemaker/tensor";

interface SystemError extends Error {
  readonly code: string;
}

/** True for an error that Node made from a failed system call (it carries a code such as ENOENT). */
export function isSystemError(error: unknown): error is SystemError {
  return error instanceof Error && typeof (error as Partial<SystemError>).code === "string";
}

/**
 * Turns a failed file operation into a `UsageError` that names the path and the cure; any other error is returned unchanged.
 * @param action what was being done, as in "write", "read", "create"
 */
export function storageError(error: unknown, action: string, path: string): unknown {
  if (!isSystemError(error)) return error;
  const fail = (code: string, got: string, cure: string): UsageError => {
    const made = new UsageError(code, `cannot ${action} ${path}: ${got}`, cure);
    made.cause = error;
    return made;
  };
  switch (error.code) {
    case "ENOSPC":
      return fail("disk-full", "no space left on the device (ENOSPC)", "free some space and run the command again; what was saved before is intact");
    case "EDQUOT":
      return fail("disk-full", "the disk quota is used up (EDQUOT)", "free some space and run the command again; what was saved before is intact");
    case "EFBIG":
      return fail("disk-full", "the file would exceed the allowed file size (EFBIG)", "raise the limit (`ulimit -f`) and run the command again; what was saved before is intact");
    case "EACCES":
    case "EPERM":
      return fail("no-permission", `permission denied (${error.code})`, "choose another folder or change its owner or mode");
    case "EROFS":
      return fail("no-permission", "the file system is read-only (EROFS)", "choose a folder on a writable disk");
    case "ENOENT":
      return fail("path-missing", "no such file or folder (ENOENT)", "check the path");
    case "ENOTDIR":
      return fail("path-missing", "a part of the path is a file, not a folder (ENOTDIR)", "check the path");
    case "EISDIR":
      return fail("path-missing", "it is a folder, not a file (EISDIR)", "give the path of a file");
    case "EEXIST":
      return fail("path-exists", "it exists already (EEXIST)", "choose another name or remove it");
    case "EMFILE":
    case "ENFILE":
      return fail("too-many-files", `too many open files (${error.code})`, "raise the limit (`ulimit -n`)");
    case "ENAMETOOLONG":
      return fail("path-missing", "the name is too long (ENAMETOOLONG)", "choose a shorter path");
    case "EIO":
      return fail("disk-failing", "input/output error (EIO)", "check the disk; what was saved before is intact");
    default:
      return error;
  }
}
