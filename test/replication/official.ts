// The official programs, as a person would run them.

import { readFileSync } from 'node:fs'
import { sha256 } from './histories.ts'

/** Runs a program to its end and returns what it printed; throws when it failed. */
export async function run(command: readonly string[], env: Record<string, string> = {}): Promise<string> {
  const { AWS_CA_BUNDLE: _, ...inherited } = process.env // the S3 commands of litestream fail where it is set
  const child = Bun.spawn([...command], {
    env: { ...inherited, ...env },
    stdout: 'pipe',
    stderr: 'pipe',
    stdin: 'ignore',
  })
  const [output, errors, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ])
  if (code !== 0) throw new Error(`${command.join(' ')} exited with ${code}: ${output}${errors}`)
  return output
}

/** Where `litestream` finds a history, and with which keys. */
export interface OfficialReplica {
  readonly litestream: string
  readonly url: string
  readonly env: Record<string, string>
}

/** The hash of what `litestream restore` makes at `path`, which must not exist. */
export async function officialHash(
  { litestream, url, env }: OfficialReplica,
  path: string,
  options: readonly string[] = [],
): Promise<string> {
  await run([litestream, 'restore', ...options, '-o', path, url], env)
  return sha256(readFileSync(path))
}

/**
 * The same as of a time, with a configuration file: with a URL the official tool refuses times outside of those at which
 * objects were written, whatever they say themselves.
 */
export async function officialHashAt(
  { litestream, url, env }: OfficialReplica,
  path: string,
  timestampMs: number,
): Promise<string> {
  const config = `${path}.yml`
  await Bun.write(config, JSON.stringify({ dbs: [{ path, replica: { url } }] })) // JSON is YAML
  const output = `${path}.restored`
  await run([litestream, 'restore', '-config', config, '-timestamp', timeText(timestampMs), '-o', output, path], env)
  return sha256(readFileSync(output))
}

/** A TXID as the command line wants it. */
export function txidText(txid: number): string {
  return txid.toString(16).padStart(16, '0')
}

/** Half a millisecond behind a slot: what the official tool restores strictly before it includes that slot. */
function timeText(timestampMs: number): string {
  return new Date(timestampMs).toISOString().replace('Z', '500Z')
}
