// Paths to handlers with PocketBase's semantics: exact segments before parameters, a wrong method is 404, so is a
// trailing slash.

import type { MaybePromise } from '../../lib/result.ts'
import type { RequestEvent } from './request-event.ts'

export type Handler = (event: RequestEvent) => MaybePromise<Response>

export interface Route {
  readonly method: string
  /** `/api/collections/:collection/records/:id`; a last part `*name` takes the rest. */
  readonly path: string
  readonly handle: Handler
  /** `path`: the limit of the path is checked before the handler; `own`: the handler checks its own. */
  readonly limit: 'path' | 'own'
  /** Leaves the address out of the log. */
  readonly isSecretPath?: boolean
  /** Largest body, bytes; default: PocketBase's. */
  readonly bodyBytesMax?: number
}

interface Node {
  readonly children: Map<string, Node>
  param: { readonly name: string; readonly node: Node } | null
  rest: { readonly name: string; readonly routes: Map<string, Route> } | null
  readonly routes: Map<string, Route>
}

export interface Match {
  readonly route: Route
  readonly params: Readonly<Record<string, string>>
}

const newNode = (): Node => ({ children: new Map(), param: null, rest: null, routes: new Map() })

export class Router {
  readonly #root = newNode()

  add(route: Route): void {
    let node = this.#root
    for (const part of route.path.split('/').slice(1)) {
      if (part.startsWith('*')) {
        node.rest ??= { name: part.slice(1), routes: new Map() }
        node.rest.routes.set(route.method, route)
        return
      }
      if (part.startsWith(':')) {
        node.param ??= { name: part.slice(1), node: newNode() }
        node = node.param.node
      } else {
        let child = node.children.get(part)
        if (child === undefined) node.children.set(part, (child = newNode()))
        node = child
      }
    }
    node.routes.set(route.method, route)
  }

  /** HEAD is answered by the route of GET. Escapes count in every part, the ones that routes spell out included. */
  find(method: string, path: string): Match | null {
    const parts = path.split('/')
    const decoded = path.includes('%') ? parts.map(decode) : parts
    return this.#find(this.#root, method === 'HEAD' ? 'GET' : method, decoded, 1, {})
  }

  #find(
    node: Node,
    method: string,
    parts: readonly string[],
    at: number,
    params: Record<string, string>,
  ): Match | null {
    if (at === parts.length) {
      const route = node.routes.get(method)
      return route === undefined ? null : { route, params }
    }
    const part = parts[at]!
    const child = node.children.get(part)
    const exact = child === undefined ? null : this.#find(child, method, parts, at + 1, params)
    if (exact !== null) return exact
    if (node.param !== null && part !== '') {
      params[node.param.name] = part
      const found = this.#find(node.param.node, method, parts, at + 1, params)
      if (found !== null) return found
      delete params[node.param.name]
    }
    const route = node.rest?.routes.get(method)
    return route === undefined ? null : { route, params: { ...params, [node.rest!.name]: parts.slice(at).join('/') } }
  }
}

/** Whether every escape of a path is one: others never get as far as a route. */
export function isWellFormed(path: string): boolean {
  return !path.includes('%') || !/%(?![0-9a-f]{2})/i.test(path)
}

/** @param part of a path that is well formed. What is no UTF-8 becomes U+FFFD, which nothing is called. */
function decode(part: string): string {
  return part.replace(/(?:%[0-9a-f]{2})+/gi, (run) => Buffer.from(run.replaceAll('%', ''), 'hex').toString())
}
