/**
 * Run a task of the console's API.
 *
 * @param {string} task
 * @param {object} [wanted]
 * @returns {Promise<any>} its result
 * @throws {Error} with a message for the page
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
    throw new Error("The console does not answer. Is make run still running?");
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.problem);
  return answer;
}
