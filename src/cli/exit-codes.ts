// Exit codes that mean something to scripts.

export const exitOk = 0
/** The operation failed: the fleet refused it, or the world did. */
export const exitFailed = 1
/** The command line, the environment or a file says something impossible; nothing was tried. */
export const exitUsage = 2
/** Asked for a thing that does not exist. */
export const exitNotFound = 3
/** The fleet could not be reached, or refused the token. */
export const exitUnreachable = 4
