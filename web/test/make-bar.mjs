export { makeBar } from "../../clients/typescript/test/make-bar.mjs";
