// Which public members of the SDK the tests have used, so that none can be forgotten. The package's own type
// declarations say what is public; every such method and getter is wrapped and counted when a test's file calls it
// itself (what the SDK calls inside itself proves nothing).

import { readFileSync } from 'node:fs'
import PocketBase, {
  AsyncAuthStore,
  BaseAuthStore,
  ClientResponseError,
  CrudService,
  LocalAuthStore,
  type SubBatchService,
} from 'pocketbase'

interface Watched {
  /** As the declarations call it. */
  readonly name: string
  readonly prototype: object
}

/** Members of `object` as it is: helpers of every error, no calls of an API. */
const ignored = new Set(['ClientResponseError.toJSON'])

/** Public methods and accessors by class, read from the package. */
function declaredMembers(): Map<string, { readonly base: string | null; readonly members: Set<string> }> {
  const path = new URL(import.meta.resolve('pocketbase')).pathname.replace(/\.mjs$/, '.d.mts')
  const source = readFileSync(path, 'utf8').replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '')
  const classes = new Map<string, { base: string | null; members: Set<string> }>()
  for (const match of source.matchAll(
    /^declare (?:abstract )?class (\w+)(?:<[^{]*?>)?(?: extends (\w+)(?:<[^{]*?>)?)? \{\n([\s\S]*?)^\}/gm,
  )) {
    const members = new Set<string>()
    for (const member of match[3]!.matchAll(/^ {4}(?:abstract )?(?:get |set )?(\w+)(?:<[^(]*>)?\(/gm))
      if (member[1] !== 'constructor') members.add(member[1]!)
    classes.set(match[1]!, { base: match[2] ?? null, members })
  }
  return classes
}

function watchedClasses(): Watched[] {
  const client = new PocketBase('http://localhost')
  const batch = client.createBatch()
  const sub: SubBatchService = batch.collection('any')
  const of = (name: string, instance: object): Watched => ({ name, prototype: Object.getPrototypeOf(instance) })
  return [
    of('Client', client),
    of('RecordService', client.collection('any')),
    of('CollectionService', client.collections),
    of('RealtimeService', client.realtime),
    of('FileService', client.files),
    of('SettingsService', client.settings),
    of('LogService', client.logs),
    of('HealthService', client.health),
    of('BackupService', client.backups),
    of('CronService', client.crons),
    of('SQLService', client.sql),
    of('BatchService', batch),
    of('SubBatchService', sub),
    { name: 'BaseAuthStore', prototype: BaseAuthStore.prototype },
    { name: 'LocalAuthStore', prototype: LocalAuthStore.prototype },
    { name: 'AsyncAuthStore', prototype: AsyncAuthStore.prototype },
    { name: 'ClientResponseError', prototype: ClientResponseError.prototype },
  ]
}

/** Classes that nobody makes: what they declare is asked of those that extend them. */
const abstractClasses = new Set(['BaseService', 'CrudService'])

export interface SdkWatch {
  /** `Class.member` of everything public that no test has used. */
  unused(): string[]
  /** How many members are watched. */
  readonly count: number
  stop(): void
}

/** @param folder only calls from files below it count. */
export function watchSdk(folder: string): SdkWatch {
  const declared = declaredMembers()
  const used = new Set<string>()
  const wanted: string[] = []
  const undo: (() => void)[] = []
  const isOwnCall = () => {
    // Frames: this function, its caller `onUse`, the wrapper, and whoever called the SDK.
    const caller = (new Error('caller').stack ?? '').split('\n').filter((line) => /^\s+at /.test(line))[3] ?? ''
    return caller.includes(folder) && !caller.includes('/called.ts')
  }
  for (const { name, prototype } of watchedClasses()) {
    const known = declared.get(name)
    if (known === undefined) throw new Error(`the SDK declares no class ${name}`)
    const members = new Set(known.members)
    for (let base = known.base; base !== null && abstractClasses.has(base); base = declared.get(base)?.base ?? null)
      for (const each of declared.get(base)?.members ?? []) members.add(each)
    for (const member of members) {
      const key = `${name}.${member}`
      if (ignored.has(key)) continue
      const descriptor = Object.getOwnPropertyDescriptor(prototype, member)
      const inherited = descriptor ?? Object.getOwnPropertyDescriptor(CrudService.prototype, member)
      if (inherited === undefined) throw new Error(`${key} is declared and does not exist`)
      wanted.push(key)
      Object.defineProperty(
        prototype,
        member,
        wrapped(inherited, () => {
          if (!used.has(key) && isOwnCall()) used.add(key)
        }),
      )
      undo.push(() => {
        if (descriptor === undefined) Reflect.deleteProperty(prototype, member)
        else Object.defineProperty(prototype, member, descriptor)
      })
    }
  }
  return {
    unused: () => wanted.filter((key) => !used.has(key)).sort(),
    count: wanted.length,
    stop() {
      for (const each of undo.reverse()) each()
    },
  }
}

function wrapped(descriptor: PropertyDescriptor, onUse: () => void): PropertyDescriptor {
  const { get, set, value } = descriptor
  if (typeof value === 'function')
    return {
      ...descriptor,
      value(this: unknown, ...args: unknown[]) {
        onUse()
        return Reflect.apply(value, this, args)
      },
    }
  return {
    configurable: true,
    enumerable: descriptor.enumerable ?? false,
    get(this: unknown) {
      onUse()
      return get === undefined ? undefined : Reflect.apply(get, this, [])
    },
    set(this: unknown, next: unknown) {
      onUse()
      if (set !== undefined) Reflect.apply(set, this, [next])
    },
  }
}
