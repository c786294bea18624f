// What the parts of a random world are made of: filters, rules, values, queries. Everything comes from one seeded source, so that a
// seed reproduces a run.

import { type Rng, seededRng } from '../../src/lib/rng.ts'
import {
  type CollectionPlan,
  dates,
  dateTexts,
  type FieldPlan,
  numbers,
  oddValues,
  operators,
  options,
  password,
  recordsPerCollection,
  usersCount,
  words,
} from './plans.ts'
import { makeSchema } from './schema.ts'

export class Generator {
  readonly rng: Rng
  collections: readonly CollectionPlan[] = []

  constructor(seed: number) {
    this.rng = seededRng(seed)
    this.collections = makeSchema(this)
  }

  pick<T>(list: readonly T[]): T {
    return list[this.rng.below(list.length)]!
  }

  chance(percent: number): boolean {
    return this.rng.below(100) < percent
  }

  idOf(collection: CollectionPlan, index: number): string {
    return `${collection.idName.slice(0, 4).padEnd(4, 'x')}${String(index).padStart(11, '0')}`
  }

  someId(collection: CollectionPlan): string {
    return this.idOf(collection, this.rng.below(recordsPerCollection + 2))
  }

  /** Who asks: often the superuser or a guest. */
  caller(): number {
    return this.chance(35) ? 1 : this.chance(35) ? 0 : 2 + this.rng.below(usersCount)
  }

  /** An access rule, mostly valid. */
  rule(plan: CollectionPlan): string {
    const own = this.pick(plan.fields)
    const other = this.pick(this.collections)
    return this.pick([
      '@request.auth.id != ""',
      `@request.auth.title ~ "a" || ${this.comparison(plan)}`,
      `@request.body.title:isset = false || @request.body.title != "alpha"`,
      `@request.body.${own.name}:changed = false`,
      `@request.method = "GET" || @request.auth.verified = true`,
      `@collection.${other.name}.id ?= id || @collection.${other.name}:x.title ?~ "a"`,
      `@request.context = "expand" || @request.query.filter != "" || id != ""`,
      this.comparison(plan),
      `(${this.comparison(plan)}) || @request.auth.id = id // comment`,
      '@request.headers.x_test = "1" || @request.auth.collectionName = "people"',
    ])
  }

  /** A field path, mostly valid. */
  fieldPath(plan: CollectionPlan, depth = 0): string {
    if (plan.isAuth && this.chance(12)) return this.pick(['email', 'email', 'verified', 'emailVisibility'])
    const kind = this.rng.below(14)
    if (kind === 0) return this.pick(['id', 'collectionId', 'nope', 'created'])
    if (kind === 1) {
      const others = this.collections.flatMap((each) =>
        each.fields.filter((field) => field.target === plan.name).map((field) => [each, field] as const),
      )
      if (others.length > 0 && depth < 2) {
        const [other, field] = this.pick(others)
        return `${other.name}_via_${field.name}.${this.fieldPath(other, depth + 1)}`
      }
    }
    if (kind === 2 && plan.isAuth)
      // Not the hash or the key of tokens: they are random.
      return this.pick(['email', 'verified', 'emailVisibility', 'username'])
    const field = this.pick(plan.fields)
    if (field.target !== null && depth < 3 && this.chance(60)) {
      const target = this.collections.find((each) => each.name === field.target)
      if (target !== undefined) return `${field.name}.${this.fieldPath(target, depth + 1)}`
    }
    // Stored names are random: what compares them would differ by chance.
    if (field.type === 'file') return field.isMultiple ? `${field.name}:length` : 'id'
    if (field.type === 'json' && this.chance(60))
      return `${field.name}.${this.pick(['a', 'a.b', '0', 'list.1', 'b.c'])}`
    if (field.type === 'geoPoint' && this.chance(80)) return `${field.name}.${this.pick(['lon', 'lat'])}`
    const modifier = this.rng.below(100)
    if (modifier < 8) return `${field.name}:length`
    if (modifier < 16) return `${field.name}:each`
    if (modifier < 21) return `${field.name}:lower`
    return field.name
  }

  literal(plan: CollectionPlan): string {
    switch (this.rng.below(9)) {
      case 0:
        return String(this.pick(numbers.filter((each) => each < 1e6)))
      case 1:
        return this.pick(['true', 'false', 'null', 'NULL', 'True'])
      case 2:
        return JSON.stringify(this.pick(dates))
      case 3:
        return `'${this.pick(options)}'`
      case 4:
        return JSON.stringify(this.someId(this.pick(this.collections)))
      case 5:
        return this.fieldPath(plan)
      case 6:
        return this.pick(['@now', '@todayStart', '@yearEnd', '@month', '@weekday', '@yesterday', '@monthEnd'])
      default:
        return JSON.stringify(this.pick(words))
    }
  }

  comparison(plan: CollectionPlan): string {
    const gap = this.pick(['', ' '])
    if (this.chance(5)) return `strftime("%Y", ${this.fieldPath(plan)})${gap}${this.pick(operators)}${gap}"2024"`
    if (this.chance(4)) {
      const geo = plan.fields.find((field) => field.type === 'geoPoint')
      if (geo !== undefined) return `geoDistance(${geo.name}.lon, ${geo.name}.lat, 1, 2) ${this.pick(['<', '>'])} 5000`
    }
    const [a, b] = [this.fieldPath(plan), this.literal(plan)]
    const [left, right] = this.chance(85) ? [a, b] : [b, a]
    return `${left}${gap}${this.pick(operators)}${gap}${right}`
  }

  filter(plan: CollectionPlan): string {
    let text = this.comparison(plan)
    for (let i = this.rng.below(3); i > 0; i--) {
      const next = this.comparison(plan)
      const join = this.pick(['&&', '||'])
      text = this.chance(30) ? `(${text}) ${join} ${next}` : `${text} ${join} ${next}`
    }
    if (this.chance(3)) {
      const at = this.rng.below(text.length)
      text =
        text.slice(0, at) + this.pick(["'", '"', '(', ')', '\\', '//', '&', '%', '.', ':', '@', '\n']) + text.slice(at)
    }
    return text
  }

  value(field: FieldPlan): unknown {
    if (this.chance(6)) return this.pick(oddValues)
    switch (field.type) {
      case 'number':
        return this.chance(15) ? this.pick(['12', 'abc', ' 5', '1e3']) : this.pick(numbers)
      case 'bool':
        return this.pick<unknown>([true, false, 'true', 1])
      case 'date':
        return this.pick(this.chance(75) ? dates : dateTexts)
      case 'email':
        return this.pick(['', 'a@b.co', 'bad', 'x@example.com'])
      case 'url':
        return this.pick([
          '',
          'https://example.com/a?b=c#d',
          'http://b.co',
          'nope',
          'ftp://x.y',
          'https://ü.example.com',
        ])
      case 'file':
        return this.pick<unknown>(['', [], 'nope.txt'])
      case 'select':
        return field.isMultiple ? options.filter(() => this.chance(50)) : this.pick([...options, '', 'nope'])
      case 'json':
        return this.pick<unknown>([
          null,
          1,
          'text',
          [1, 2],
          { a: { b: 1 }, list: [1, 'x'] },
          { a: 'alpha' },
          true,
          '',
          [],
        ])
      case 'geoPoint':
        return { lon: this.pick([0, 1.5, 20]), lat: this.pick([0, 2.25, -40]) }
      case 'relation': {
        const target = this.collections.find((each) => each.name === field.target)!
        const ids = Array.from({ length: this.rng.below(3) }, () =>
          this.idOf(target, this.rng.below(recordsPerCollection)),
        )
        return field.isMultiple ? ids : (ids[0] ?? '')
      }
      default:
        return this.pick(words)
    }
  }

  values(plan: CollectionPlan, share: number): Record<string, unknown> {
    const values: Record<string, unknown> = {}
    for (const field of plan.fields)
      if (this.chance(field.type === 'file' ? share / 10 : share)) values[field.name] = this.value(field)
    return values
  }

  /** A complete record for the start, written by a superuser. */
  newRecord(plan: CollectionPlan, index: number): Record<string, unknown> {
    return { ...this.values(plan, 80), ...this.authPart(plan, index), id: this.idOf(plan, index) }
  }

  authPart(plan: CollectionPlan, index: number): Record<string, unknown> {
    if (!plan.isAuth) return {}
    return {
      email: `user${index}@example.com`,
      emailVisibility: this.chance(50),
      verified: this.chance(50),
      password,
      passwordConfirm: password,
    }
  }

  query(plan: CollectionPlan, isList: boolean): string {
    const query = new URLSearchParams()
    if (this.chance(40)) {
      const paths = Array.from({ length: 1 + this.rng.below(2) }, () => this.expandPath(plan))
      query.set('expand', paths.join(','))
    }
    if (this.chance(20))
      query.set(
        'fields',
        this.pick(['id', '*', 'id,title', '*,expand.*', 'title:excerpt(3,true),id', 'nope', 'id,expand.title']),
      )
    if (!isList) return query.size > 0 ? `?${query}` : ''
    if (this.chance(75)) query.set('filter', this.filter(plan))
    const keys: string[] = []
    for (let i = this.rng.below(3); i > 0; i--) keys.push(this.pick(['-', '+', '']) + this.fieldPath(plan))
    query.set('sort', [...keys, 'id'].join(','))
    if (this.chance(30)) query.set('page', this.pick(['1', '2', '0', '-1', '3']))
    if (this.chance(40)) query.set('perPage', this.pick(['1', '5', '10', '0', '2000']))
    if (this.chance(25)) query.set('skipTotal', this.pick(['1', 'true', 'T', '0']))
    return `?${query}`
  }

  expandPath(plan: CollectionPlan, depth = 0): string {
    const relations = plan.fields.filter((field) => field.target !== null)
    const backs = this.collections.flatMap((each) =>
      each.fields.filter((field) => field.target === plan.name).map((field) => [each, field] as const),
    )
    if (backs.length > 0 && this.chance(30)) {
      const [other, field] = this.pick(backs)
      const rest = depth < 2 && this.chance(40) ? `.${this.expandPath(other, depth + 1)}` : ''
      return `${other.name}_via_${field.name}${rest}`
    }
    if (relations.length === 0) return 'nope'
    const field = this.pick(relations)
    const target = this.collections.find((each) => each.name === field.target)!
    return field.name + (depth < 3 && this.chance(50) ? `.${this.expandPath(target, depth + 1)}` : '')
  }

  modifiers(plan: CollectionPlan): Record<string, unknown> {
    const field = this.pick(plan.fields)
    const key = this.pick([`${field.name}+`, `+${field.name}`, `${field.name}-`])
    return { [key]: this.value(field) }
  }
}
