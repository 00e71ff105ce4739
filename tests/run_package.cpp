// Runs a package of AOTInductor's on the tensor in one file and writes the result to another.
// Usage: run_package PACKAGE INPUT OUTPUT
#include <fstream>
#include <iterator>
#include <vector>

#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/csrc/jit/serialization/pickle.h>

int main(int, char** arguments) {
  std::ifstream file(arguments[2], std::ios::binary);
  const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), {});
  torch::inductor::AOTIModelPackageLoader model(arguments[1]);
  const auto results = model.run({torch::jit::pickle_load(bytes).toTensor()});
  const auto pickled = torch::jit::pickle_save(results.at(0));
  std::ofstream(arguments[3], std::ios::binary).write(pickled.data(), pickled.size());
}
