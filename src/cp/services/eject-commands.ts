// The exact commands by which the official tools take a tenant's databases out of the store, without us. Pure: text for a
// shell and for Litestream's configuration, out of where things lie.

import type { TenantId } from '../../lib/brand.ts'
import type { StoreLocation } from '../../lib/object-store/open.ts'

export interface EjectCommands {
  /** Variables that the commands need; their values are never printed. */
  readonly environment: readonly string[]
  readonly databases: readonly {
    readonly name: string
    /** What official Litestream calls the replica. */
    readonly url: string
    /** The newest state. */
    readonly restore: string
  }[]
  /** Content of a `litestream.yml`: with a URL alone, Litestream refuses times that its listing does not bracket. */
  readonly config: string
  /** The state as of a time; needs the configuration beside it. */
  readonly restoreAt: readonly string[]
  /** Where uploaded files lie; they go to `storage/` of a `pb_data`. */
  readonly files: string
}

export interface EjectInput {
  readonly location: StoreLocation
  readonly objectPrefix: string
  readonly tenantId: TenantId
  /** The epoch on whose path the histories lie; null: the path without one. */
  readonly replicaEpoch: number | null
  /** Absolute; where the databases are to go. */
  readonly directory: string
  /** ms since the Unix epoch; null: only the newest state is asked for. */
  readonly atMs: number | null
}

const names = ['data.db', 'auxiliary.db', 'hooks.db'] as const
const credentials = ['LITESTREAM_ACCESS_KEY_ID', 'LITESTREAM_SECRET_ACCESS_KEY']

export function ejectCommands({
  location,
  objectPrefix,
  tenantId,
  replicaEpoch,
  directory,
  atMs,
}: EjectInput): EjectCommands {
  const root = join([location.kind === 's3' ? location.prefix : '', objectPrefix, 't', tenantId])
  const target = (name: string) => `${directory.replace(/\/+$/, '')}/${name}`
  const replica = (name: string) => `${root}/${name}${replicaEpoch === null ? '' : `/e${replicaEpoch}`}`
  const databases = names.map((name) => {
    const url = urlOf(location, replica(name))
    return { name, url, restore: `litestream restore -o ${quoted(target(name))} ${quoted(url)}` }
  })
  // Litestream takes what is strictly before a time, we what is at or before it: half a millisecond makes them agree.
  const time = atMs === null ? '<TIME>' : new Date(atMs).toISOString().replace('Z', '500Z')
  return {
    environment: location.kind === 's3' ? credentials : [],
    databases,
    config: [
      'dbs:',
      ...names.flatMap((name) => [
        `  - path: ${JSON.stringify(target(name))}`,
        '    replica:',
        ...replicaOf(location, replica(name)).map((line) => `      ${line}`),
      ]),
      '',
    ].join('\n'),
    restoreAt: names.map(
      (name) =>
        `litestream restore -config litestream.yml -timestamp ${time} -o ${quoted(target(name))} ${quoted(target(name))}`,
    ),
    files: location.kind === 's3' ? `s3://${location.bucket}/${root}/files/` : `${location.dir}/${root}/files/`,
  }
}

function urlOf(location: StoreLocation, path: string): string {
  if (location.kind === 'file') return `file://${location.dir}/${path}`
  const { bucket, endpoint, region } = location
  const query = new URLSearchParams({
    ...(endpoint !== null && { endpoint, forcePathStyle: 'true' }),
    region,
  })
  return `s3://${bucket}/${path}?${query}`
}

/** JSON texts are YAML texts too. */
function replicaOf(location: StoreLocation, path: string): string[] {
  if (location.kind === 'file') return ['type: file', `path: ${JSON.stringify(`${location.dir}/${path}`)}`]
  const { bucket, endpoint, region } = location
  return [
    'type: s3',
    `bucket: ${JSON.stringify(bucket)}`,
    `path: ${JSON.stringify(path)}`,
    `region: ${JSON.stringify(region)}`,
    ...(endpoint === null ? [] : [`endpoint: ${JSON.stringify(endpoint)}`, 'force-path-style: true']),
  ]
}

function join(parts: readonly string[]): string {
  return parts.filter((part) => part !== '').join('/')
}

/** One word for a POSIX shell, whatever is in it. */
function quoted(text: string): string {
  return /^[\w./:=@-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}
