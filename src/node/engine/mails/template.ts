// Mail templates: a subject and an HTML body with placeholders in braces, set by the tenant's admin per collection.

export interface MailTemplate {
  readonly subject: string
  readonly body: string
}

/** Values by placeholder, braces included: `{TOKEN}`, `{RECORD:name}`. */
export type Placeholders = ReadonlyMap<string, string>

const placeholderPattern = /\{[A-Z_]+(?::[^{}\s]+)?\}/g

/**
 * Puts the values in. One pass: what a value contains is never looked at again, so a record whose name is `{TOKEN}` gets
 * no token.
 */
export function fillTemplate(template: MailTemplate, values: Placeholders): MailTemplate {
  const fill = (text: string) => text.replace(placeholderPattern, (name) => values.get(name) ?? name)
  return { subject: fill(template.subject), body: fill(template.body) }
}

/** What HTML gives a meaning, as PocketBase escapes it. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => escapes[character]!)
}

const escapes: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&#34;', "'": '&#39;' }

/** A whole document around a template's body; the classes `btn` and `hidden` are what templates rely on. */
export function mailDocument(body: string): string {
  return `<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8" />
<meta name="viewport" content="width=device-width, initial-scale=1" />
<style>
html, body { margin: 0; padding: 0; background: #fff; color: #1b1b1f; font: 14px/1.45 "Source Sans Pro", Arial, sans-serif; }
body { padding: 20px 30px; }
p { margin: 10px 0; }
a { color: inherit; }
small { font-size: 12px; }
hr { height: 1px; margin: 10px 0; border: 0; background: #dfe3e8; }
.hidden { display: none !important; }
.btn {
  display: inline-block; min-width: 150px; box-sizing: border-box; margin: 5px 0; padding: 0 20px; border-radius: 6px;
  background: #1b1b1f !important; color: #fff !important; font-weight: bold; line-height: 40px; text-align: center;
  text-decoration: none !important;
}
</style>
</head>
<body>
${body}
</body>
</html>
`
}
