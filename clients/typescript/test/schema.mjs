/** Holds messages against docs/asyncapi.json. It knows the words that this document uses. */
import { readFileSync } from "node:fs";

export const document = JSON.parse(readFileSync(new URL("../../../docs/asyncapi.json", import.meta.url), "utf8"));
export const schemas = document.components.schemas;

const requests = Object.entries(document.operations).flatMap(([name, { action }]) => (action === "receive" ? [name] : []));
const sent = Object.keys(document.components.messages).filter((name) => !requests.includes(name));

/** The messages of a gateway that this is; exactly one, if it is right. */
export const kindsOf = (message) => sent.filter((name) => faultsOf(schemas[name], message).length === 0);
/** The requests that this is. */
export const requestsOf = (message) => requests.filter((name) => faultsOf(schemas[name], message).length === 0);

/** Why a value is not as a schema says. A field without a schema is a fault. */
export function faultsOf(schema, value, place = "") {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  const faults = [];
  for (const [word, wanted] of Object.entries(schema)) {
    if (["description", "default", "additionalProperties"].includes(word)) continue;
    if (word === "$ref") faults.push(...faultsOf(schemas[wanted.split("/").pop()], value, place));
    else if (word === "properties") {
      for (const [name, field] of Object.entries(wanted)) if (isObject && Object.hasOwn(value, name)) faults.push(...faultsOf(field, value[name], `${place}.${name}`));
    } else if (word === "items") {
      if (Array.isArray(value)) faults.push(...value.flatMap((item, index) => faultsOf(wanted, item, `${place}[${index}]`)));
    } else if (!holds(word, wanted, value, isObject)) faults.push(`${place}: ${word} ${JSON.stringify(wanted)}: ${JSON.stringify(value)}`);
  }
  const others = schema.additionalProperties ?? false;
  if ("type" in schema && isObject && others !== true) {
    for (const name of Object.keys(value).filter((name) => !Object.hasOwn(schema.properties ?? {}, name))) {
      faults.push(...(others === false ? [`${place}.${name} is not documented`] : faultsOf(others, value[name], `${place}.${name}`)));
    }
  }
  return faults;
}

function holds(word, wanted, value, isObject) {
  switch (word) {
    case "type":
      return [wanted].flat().some((name) => isOf(name, value, isObject));
    case "const":
      return value === wanted;
    case "enum":
      return wanted.includes(value);
    case "required":
      return isObject && wanted.every((name) => Object.hasOwn(value, name));
    case "pattern":
      return typeof value !== "string" || new RegExp(wanted, "u").test(value);
    case "minimum":
      return typeof value !== "number" || value >= wanted;
    case "maximum":
      return typeof value !== "number" || value <= wanted;
    case "minItems":
      return !Array.isArray(value) || value.length >= wanted;
    case "maxItems":
      return !Array.isArray(value) || value.length <= wanted;
    default:
      throw new Error(`the word ${word} is not known`);
  }
}

function isOf(name, value, isObject) {
  switch (name) {
    case "object":
      return isObject;
    case "array":
      return Array.isArray(value);
    case "null":
      return value === null;
    case "integer":
      return Number.isSafeInteger(value);
    default:
      return typeof value === name;
  }
}
