// Short pages of listings make a short history a long one, for which a listing takes many requests.

import { MemoryObjectStore } from '../../src/lib/object-store/memory.ts'
import type { ListPage } from '../../src/lib/object-store/object-store.ts'

/** The start of a page without a delimiter; what the store gave as the next one is always the last key. */
export function shorterPage(page: ListPage, entriesMax: number): ListPage {
  if (page.objects.length <= entriesMax) return page
  const objects = page.objects.slice(0, entriesMax)
  return { ...page, objects, next: objects.at(-1)!.key }
}

export class ShortPagesStore extends MemoryObjectStore {
  readonly #entriesMax: number

  constructor(entriesMax: number, layout: MemoryObjectStore['layout'] = 's3') {
    super({ layout })
    this.#entriesMax = entriesMax
  }

  override async list(options: Parameters<MemoryObjectStore['list']>[0]): Promise<ListPage> {
    return shorterPage(await super.list(options), this.#entriesMax)
  }
}
