/**
 * Ask the console's own server to do something.
 *
 * @param {string} task
 * @param {object} [wanted]
 * @returns {Promise<any>} its answer
 * @throws {Error} with a sentence for a person
 */
export async function ask(task, wanted = {}) {
  let response;
  try {
    response = await fetch(`/tasks/${task}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(wanted),
    });
  } catch {
    throw new Error("The console does not answer: is make run still up?");
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.problem);
  return answer;
}
