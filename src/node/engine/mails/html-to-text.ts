// The plain text version of a mail: what a reader without HTML sees. Knows just enough HTML for mails, never fails, and
// looks at each character a bounded number of times.
//
//   links become [label](address), items of lists get a dash, blocks start a new line, indentation goes away

/** Elements whose content nobody reads. */
const skipped = new Set([
  ...['style', 'script', 'iframe', 'applet', 'object', 'svg', 'img'],
  ...['button', 'form', 'textarea', 'input', 'select', 'option', 'template'],
])
const inline = new Set(['a', 'span', 'small', 'strike', 'strong', 'sub', 'sup', 'em', 'b', 'u', 'i'])
const empty = new Set([
  'area',
  'base',
  'br',
  'col',
  'embed',
  'hr',
  'img',
  'input',
  'link',
  'meta',
  'source',
  'track',
  'wbr',
])
/** Elements whose content is text up to their end tag, whatever it looks like. */
const rawText = new Set(['style', 'script', 'textarea', 'title', 'iframe', 'template'])

const tagPattern = /<(\/?)([a-zA-Z][a-zA-Z0-9-]*)((?:[^<>"']|"[^"]*"|'[^']*')*)>|<!--[\s\S]*?-->|<[!?][^>]*>/g

interface Link {
  readonly href: string
  text: string
}

export function htmlToText(html: string): string {
  let text = ''
  let link: Link | null = null
  let skip: { readonly name: string; depth: number } | null = null
  let isLineStarted = false

  const write = (part: string) => {
    if (link === null) text += part
    else link.text += part
  }
  const writeText = (raw: string) => {
    if (skip !== null || raw === '') return
    let words = decodeEntities(raw.replace(/\s+/g, ' '))
    if (!isLineStarted) words = words.replace(/^ +/, '')
    if (words === '') return
    write(words)
    isLineStarted = true
  }
  const endLink = () => {
    if (link === null) return
    const { href, text: label } = link
    link = null
    text += `[${label.trim() || 'LINK'}]${href === '' ? '' : `(${href})`}`
  }
  const open = (name: string, attributes: string) => {
    if (name === 'br' || (isLineStarted && !inline.has(name))) {
      write('\r\n')
      isLineStarted = false
    }
    if (name === 'li') write('- ')
    if (name === 'a') {
      endLink() // links do not nest
      link = { href: hrefOf(attributes), text: '' }
    }
  }

  const lower = html.toLowerCase()
  let position = 0
  tagPattern.lastIndex = 0
  for (let match = tagPattern.exec(html); match !== null; match = tagPattern.exec(html)) {
    writeText(html.slice(position, match.index))
    position = tagPattern.lastIndex
    const name = match[2]?.toLowerCase()
    if (name === undefined) continue // a comment or a doctype
    const isEnd = match[1] === '/'
    if (skip !== null) {
      if (name === skip.name) skip.depth += isEnd ? -1 : 1
      if (skip.depth === 0) skip = null
    } else if (isEnd) {
      if (name === 'a') endLink()
    } else if (skipped.has(name)) {
      if (!empty.has(name)) skip = { name, depth: 1 }
    } else {
      open(name, match[3] ?? '')
    }
    if (!isEnd && rawText.has(name)) {
      const end = lower.indexOf(`</${name}`, position)
      if (skip === null) writeText(html.slice(position, end < 0 ? html.length : end))
      position = end < 0 ? html.length : end
      tagPattern.lastIndex = position
    }
  }
  writeText(html.slice(position))
  endLink()
  return text.trim()
}

function hrefOf(attributes: string): string {
  const match = /(?:^|\s)href\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))/i.exec(attributes)
  return decodeEntities(match?.[1] ?? match?.[2] ?? match?.[3] ?? '')
}

const namedEntities: Readonly<Record<string, string>> = {
  ...{ amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\u00a0', copy: '©', reg: '®', trade: '™' },
  ...{ hellip: '…', ndash: '–', mdash: '—', lsquo: '‘', rsquo: '’', ldquo: '“', rdquo: '”', bull: '•', euro: '€' },
  ...{ laquo: '«', raquo: '»', middot: '·', times: '×', rarr: '→', larr: '←' },
}

function decodeEntities(text: string): string {
  if (!text.includes('&')) return text
  return text.replace(/&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|([a-zA-Z]{1,10}));/g, (whole, decimal, hex, name) => {
    if (name !== undefined) return namedEntities[name] ?? whole
    const code = decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal)
    const isCharacter = code > 0 && code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff)
    return isCharacter ? String.fromCodePoint(code) : '\ufffd'
  })
}
