// Real process trees: found through /proc, killed without mercy.

import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

interface ProcessInfo {
  readonly pid: number
  readonly parent: number
  readonly state: string
  readonly argv: readonly string[]
}

function readProcess(pid: number): ProcessInfo | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The command name may hold spaces and parentheses: the fields start after the last one.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1)
    return { pid, parent: Number(fields[1]), state: fields[0]!, argv }
  } catch {
    return null // it ended between the listing and the look
  }
}

function allProcesses(): ProcessInfo[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => readProcess(Number(name)))
    .filter((each) => each !== null)
}

/** `root` and all its descendants that are alive, parents first. */
export function processTree(root: number): ProcessInfo[] {
  const all = allProcesses().filter((each) => each.state !== 'Z')
  const found: ProcessInfo[] = []
  const visit = (pid: number) => {
    const info = all.find((each) => each.pid === pid)
    if (info) found.push(info)
    for (const child of all.filter((each) => each.parent === pid)) visit(child.pid)
  }
  visit(root)
  return found
}

export function isAlive(pid: number): boolean {
  const info = readProcess(pid)
  return info !== null && info.state !== 'Z'
}

/** What the descriptors of a process lead to, but for those that it closes meanwhile; null when it has gone. */
export function openFiles(pid: number): readonly string[] | null {
  const linkOf = (fd: string) => {
    try {
      return [readlinkSync(`/proc/${pid}/fd/${fd}`)]
    } catch {
      return [] // closed between the listing and the look
    }
  }
  try {
    return readdirSync(`/proc/${pid}/fd`).flatMap(linkOf)
  } catch {
    return null // it ended meanwhile, or has left nothing but its exit code
  }
}

/** SIGKILLs the whole tree at once, leaves first stopped so that nobody restarts a sibling meanwhile. */
export function killTree(root: number): void {
  const tree = processTree(root)
  for (const { pid } of tree) signal(pid, 'SIGSTOP')
  for (const { pid } of tree) signal(pid, 'SIGKILL')
}

export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
