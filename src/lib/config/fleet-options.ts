// Every option of `serve`, once: flag, environment variable, unit, meaning. Nothing else reads the environment.

import { isNodeId } from '../brand.ts'
import { logLevels } from '../obs/log.ts'
import { err, ok } from '../result.ts'
import type { OptionSpec } from './resolve.ts'
import {
  flagValue,
  httpUrl,
  integer,
  labels,
  listenAddress,
  listOf,
  matching,
  nonEmpty,
  oneOf,
  peerAddress,
  portRange,
  type ValueParser,
} from './values.ts'

export const modes = ['all-in-one', 'control-plane', 'tenant-node', 'gateway', 'standalone'] as const
export type Mode = (typeof modes)[number]

function option<T>(spec: OptionSpec<T>): OptionSpec<T> {
  return spec
}

/** Raft members and control-plane addresses: the field has never needed more. */
const membersMax = 16

const raftPeer: ValueParser<{ readonly id: string; readonly address: string }> = (text) => {
  const [left, right] = text.includes('=') ? text.split('=', 2) : [text.split(':')[0], text]
  const address = peerAddress(right ?? '')
  if (!left || !isNodeId(left) || !address.ok) return err('id=host:port or host:port')
  return ok({ id: left, address: address.value })
}

const nodeId: ValueParser<string> = (text) =>
  isNodeId(text) ? ok(text) : err('1 to 63 characters: letters, digits, dot, dash, underscore')

export const domainName = matching(
  /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/,
  'a lower-case domain name such as example.com',
)

/** Origins of CORS: each is compared with every request of a page. */
const originsMax = 100
const originName = matching(/^\S{1,300}$/, 'an origin such as https://app.example.com')

const bucketName = matching(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, 'a bucket name of 3 to 63 characters')
const keyPrefix = matching(
  /^(?!\/)(?!.*\/\/)(?!.*(^|\/)\.\.?(\/|$))[\w.\-/]{1,256}$/,
  'a key prefix without leading slash',
)
const storageClass = matching(/^(?:none|[A-Z][A-Z0-9_]{1,63})$/, 'a storage class such as STANDARD_IA, or none')
const clusterSecret = matching(/^.{32,512}$/s, 'at least 32 characters')

export const fleetOptions = {
  mode: option({
    flag: 'mode',
    env: 'MODE',
    placeholder: 'MODE',
    about: `What to run: ${modes.join(', ')}. Default all-in-one.`,
    parse: oneOf(modes),
  }),
  http: option({
    flag: 'http',
    env: 'HTTP_ADDR',
    placeholder: 'HOST:PORT',
    about: 'HTTP listener. Default by mode: 127.0.0.1:8090, control-plane :8090, tenant-node :8091, gateway :8080.',
    parse: listenAddress,
  }),
  dir: option({
    flag: 'dir',
    env: 'DATA_DIR',
    placeholder: 'PATH',
    about: 'Data directory. Default ./pocketfleet-data, standalone ./pb_data.',
    parse: nonEmpty,
  }),
  nodeId: option({
    flag: 'node-id',
    env: 'NODE_ID',
    placeholder: 'ID',
    about: 'Name of this member or node, unique in the fleet. Default cp-1, node-1.',
    parse: nodeId,
  }),
  raftPeers: option({
    flag: 'raft-peers',
    env: 'RAFT_PEERS',
    placeholder: 'ID=HOST:PORT,…',
    about: 'All members of the control plane. Default: this one alone.',
    parse: listOf(raftPeer, membersMax),
  }),
  raftBind: option({
    flag: 'raft-bind',
    env: 'RAFT_BIND_ADDR',
    placeholder: 'HOST:PORT',
    about: 'Raft listener. Default :7000.',
    parse: listenAddress,
  }),
  raftAdvertise: option({
    flag: 'raft-advertise',
    env: 'RAFT_ADVERTISE_ADDR',
    placeholder: 'HOST:PORT',
    about: 'Raft address that other members use.',
    parse: peerAddress,
  }),
  ipcBind: option({
    flag: 'ipc-bind',
    env: 'IPC_BIND_ADDR',
    placeholder: 'HOST:PORT',
    about: 'IPC request listener. Default control-plane :5555, tenant-node :5557.',
    parse: listenAddress,
  }),
  ipcPubBind: option({
    flag: 'ipc-pub-bind',
    env: 'IPC_PUB_BIND_ADDR',
    placeholder: 'HOST:PORT',
    about: 'IPC broadcast listener of the control plane. Default :5556.',
    parse: listenAddress,
  }),
  ipcAdvertise: option({
    flag: 'ipc-advertise',
    env: 'IPC_ADVERTISE_ADDR',
    placeholder: 'HOST',
    about: 'Host name or address under which others reach the IPC listeners. Default: the bind host, or 127.0.0.1.',
    parse: matching(/^[a-zA-Z0-9.:[\]-]{1,253}$/, 'a host name or address'),
  }),
  workerPorts: option({
    flag: 'worker-ports',
    env: 'WORKER_PORTS',
    placeholder: 'FROM-TO',
    about:
      'Ports of the engine workers: one each, and one for busy tenants (one for each four workers). Default: free ones.',
    parse: portRange,
  }),
  controlPlane: option({
    flag: 'control-plane',
    env: 'CONTROL_PLANE_ADDRS',
    placeholder: 'HOST:PORT,…',
    about: 'HTTP addresses of the control plane, for tenant nodes and gateways.',
    parse: listOf(peerAddress, membersMax),
  }),
  nodeAddress: option({
    flag: 'node-address',
    env: 'NODE_ADDRESS',
    placeholder: 'HOST',
    about: 'Private address under which gateways reach this node. Default 127.0.0.1.',
    parse: matching(/^[a-zA-Z0-9.:[\]-]{1,253}$/, 'a host name or address'),
  }),
  tenantsMax: option({
    flag: 'max-tenants',
    env: 'MAX_TENANTS',
    placeholder: 'COUNT',
    about: 'Most tenants open at once on this node. Default 1000.',
    parse: integer(1, 100_000),
  }),
  workers: option({
    flag: 'workers',
    env: 'WORKERS',
    placeholder: 'COUNT',
    about: 'Engine worker processes, besides those for busy tenants. Default: one a core.',
    parse: integer(1, 256),
  }),
  region: option({
    flag: 'region',
    env: 'REGION',
    placeholder: 'NAME',
    about: 'Region of this node, for placement. Default local.',
    parse: nodeId,
  }),
  zone: option({
    flag: 'zone',
    env: 'ZONE',
    placeholder: 'NAME',
    about: 'Failure zone of this node, for placement. Default local.',
    parse: nodeId,
  }),
  labels: option({
    flag: 'labels',
    env: 'LABELS',
    placeholder: 'KEY=VALUE,…',
    about: 'Labels of this node, for placement.',
    parse: labels,
  }),
  baseDomain: option({
    flag: 'base-domain',
    env: 'BASE_DOMAIN',
    placeholder: 'DOMAIN',
    about: 'Tenants answer on {slug}.DOMAIN. Default localhost.',
    parse: domainName,
  }),
  publicPort: option({
    flag: 'public-port',
    env: 'PUBLIC_PORT',
    placeholder: 'PORT',
    about: 'Plain HTTP port under which clients reach the gateway, for links. Default: https without a port.',
    parse: integer(1, 65_535),
  }),
  s3Endpoint: option({
    flag: 's3-endpoint',
    env: 'S3_ENDPOINT',
    placeholder: 'URL',
    about: 'S3 endpoint. With a bucket and no endpoint: AWS.',
    parse: httpUrl,
  }),
  s3Region: option({
    flag: 's3-region',
    env: 'S3_REGION',
    placeholder: 'NAME',
    about: 'S3 region. Default us-east-1.',
    parse: matching(/^[a-z0-9-]{1,64}$/, 'a region name'),
  }),
  s3Bucket: option({
    flag: 's3-bucket',
    env: 'S3_BUCKET',
    placeholder: 'NAME',
    about: 'S3 bucket. Without it, objects go to a directory (all-in-one only, or --objects-dir).',
    parse: bucketName,
  }),
  s3Prefix: option({
    flag: 's3-prefix',
    env: 'S3_PREFIX',
    placeholder: 'PREFIX',
    about: 'Key prefix inside the bucket. Default pocketfleet.',
    parse: keyPrefix,
  }),
  s3AccessKey: option({
    flag: 's3-access-key',
    env: 'S3_ACCESS_KEY',
    placeholder: 'KEY',
    about: 'S3 access key.',
    parse: nonEmpty,
    secret: true,
  }),
  s3SecretKey: option({
    flag: 's3-secret-key',
    env: 'S3_SECRET_KEY',
    placeholder: 'KEY',
    about: 'S3 secret key.',
    parse: nonEmpty,
    secret: true,
  }),
  s3Rate: option({
    flag: 's3-rate',
    env: 'S3_RATE',
    placeholder: 'COUNT',
    about: 'Most requests a second that this machine makes to the bucket, such as 700 for Hetzner. Default: no limit.',
    parse: integer(1, 1_000_000),
  }),
  s3RateBytes: option({
    flag: 's3-rate-bytes',
    env: 'S3_RATE_BYTES',
    placeholder: 'BYTES',
    about: 'Most bytes a second that this machine moves to and from the bucket. Default: no limit.',
    parse: integer(1_000_000, 1_000_000_000_000),
  }),
  infrequentAfterDays: option({
    flag: 'infrequent-after-days',
    env: 'INFREQUENT_AFTER_DAYS',
    placeholder: 'DAYS',
    about: 'Objects of a tenant without requests for this long move to --s3-infrequent-class; 0: never. Default 7.',
    parse: integer(0, 36_500),
  }),
  archiveAfterDays: option({
    flag: 'archive-after-days',
    env: 'ARCHIVE_AFTER_DAYS',
    placeholder: 'DAYS',
    about:
      'A tenant without requests for this long is archived: merged, moved to --s3-archive-class; 0: never. Default 90.',
    parse: integer(0, 36_500),
  }),
  deletedKeepDays: option({
    flag: 'deleted-keep-days',
    env: 'DELETED_KEEP_DAYS',
    placeholder: 'DAYS',
    about:
      'Objects of a deleted tenant, and of paths that it left, go after this long; 31 or more, 0: never. Default 37.',
    parse: integer(0, 36_500),
  }),
  s3InfrequentClass: option({
    flag: 's3-infrequent-class',
    env: 'S3_INFREQUENT_CLASS',
    placeholder: 'NAME',
    about: 'Storage class for what is read rarely, or none. Default: STANDARD_IA on AWS, none with --s3-endpoint.',
    parse: storageClass,
  }),
  s3ArchiveClass: option({
    flag: 's3-archive-class',
    env: 'S3_ARCHIVE_CLASS',
    placeholder: 'NAME',
    about: 'Storage class for archived tenants, readable at once, or none. Default: GLACIER_IR on AWS, else none.',
    parse: storageClass,
  }),
  prices: option({
    flag: 'prices',
    env: 'PRICES_FILE',
    placeholder: 'PATH',
    about: 'JSON with what the object store charges, for `tenant cost`. Default: list prices of AWS S3, us-east-1.',
    parse: nonEmpty,
  }),
  objectsDir: option({
    flag: 'objects-dir',
    env: 'OBJECTS_DIR',
    placeholder: 'PATH',
    about: 'Directory that serves as the object store when there is no bucket; shared by all processes of the fleet.',
    parse: nonEmpty,
  }),
  httpsAddr: option({
    flag: 'https-addr',
    env: 'HTTPS_ADDR',
    placeholder: 'HOST:PORT',
    about: 'HTTPS listener of the gateway, or of a standalone tenant. Default :443 with a certificate or a domain.',
    parse: listenAddress,
  }),
  tlsCert: option({
    flag: 'tls-cert',
    env: 'TLS_CERT',
    placeholder: 'PATH',
    about: 'PEM certificate chain of the gateway, or of a standalone tenant.',
    parse: nonEmpty,
  }),
  tlsKey: option({
    flag: 'tls-key',
    env: 'TLS_KEY',
    placeholder: 'PATH',
    about: 'PEM private key of the gateway, or of a standalone tenant.',
    parse: nonEmpty,
  }),
  acmeDirectory: option({
    flag: 'acme-directory',
    env: 'ACME_DIRECTORY',
    placeholder: 'URL',
    about: 'Standalone with domains: the ACME authority that issues their certificates. Default Let’s Encrypt.',
    parse: httpUrl,
  }),
  clusterSecret: option({
    flag: 'cluster-secret',
    env: 'CLUSTER_SECRET',
    placeholder: 'TEXT',
    about:
      'Secret of the fleet, at least 32 characters: all IPC and route keys derive from it. All-in-one makes its own.',
    parse: clusterSecret,
    secret: true,
  }),
  createAdmin: option({
    flag: 'create-admin',
    env: 'CREATE_ADMIN',
    placeholder: 'EMAIL',
    about: 'E-mail of the first cluster admin. Default admin@localhost.',
    parse: matching(/^[^\s@]{1,64}@[^\s@]{1,190}$/, 'an e-mail address'),
  }),
  logLevel: option({
    flag: 'log-level',
    env: 'LOG_LEVEL',
    placeholder: 'LEVEL',
    about: `Least level that is logged: ${logLevels.join(', ')}. Default info.`,
    parse: oneOf(logLevels),
  }),
  logFormat: option({
    flag: 'log-format',
    env: 'LOG_FORMAT',
    placeholder: 'FORMAT',
    about: 'json or text. Default: text on a terminal, else json.',
    parse: oneOf(['json', 'text'] as const),
  }),
  idleMs: option({
    flag: 'idle-ms',
    env: 'IDLE_MS',
    placeholder: 'MS',
    about: 'A tenant without requests for this long is closed, ms. Default 60000.',
    parse: integer(1_000, 86_400_000),
  }),
  encryptionEnv: option({
    flag: 'encryption-env',
    env: 'ENCRYPTION_ENV',
    placeholder: 'NAME',
    about: 'Standalone: environment variable with the 32 characters that encrypt the settings.',
    parse: matching(/^[A-Za-z_][A-Za-z0-9_]*$/, 'the name of an environment variable'),
  }),
  origins: option({
    flag: 'origins',
    env: 'ORIGINS',
    placeholder: 'ORIGIN,…',
    about: 'Standalone: origins whose pages may read answers (CORS); * stands for any text. Default *.',
    parse: listOf(originName, originsMax),
  }),
  publicDir: option({
    flag: 'public-dir',
    env: 'PUBLIC_DIR',
    placeholder: 'PATH',
    about: 'Standalone: folder whose files are served beside the API. Default pb_public beside --dir, if it is there.',
    parse: nonEmpty,
  }),
  indexFallback: option({
    flag: 'index-fallback',
    env: 'INDEX_FALLBACK',
    placeholder: null,
    about: 'Standalone: whether paths without a file get the index page of --public-dir. Default true.',
    parse: flagValue,
  }),
  queryTimeout: option({
    flag: 'query-timeout',
    env: 'QUERY_TIMEOUT',
    placeholder: 'SECONDS',
    about: 'Standalone: how long one read of the database may run. Default 30.',
    parse: integer(1, 3_600),
  }),
  dev: option({
    flag: 'dev',
    env: 'DEV',
    placeholder: null,
    about: 'Development mode: detailed logs, mails without SMTP go to the log.',
    parse: flagValue,
  }),
} as const

export type FleetOptionTable = typeof fleetOptions
