// From source there is nothing embedded. The build replaces this module (scripts/native-plugin.ts) with one that imports
// the zeromq addon as a file, so that the binary carries libzmq.

export const embeddedLibrary: string | null = null
