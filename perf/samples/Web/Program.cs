using System.Buffers;
using System.IO.Pipelines;
using LowLevel.Allocator;
using LowLevel.Allocator.AspNetCore;
using Microsoft.AspNetCore.Http;
// README: begin
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

WebApplicationBuilder builder = WebApplication.CreateBuilder(args);
builder.Services.AddLowLevelMemoryPool();                 // Kestrel's buffers come from an arena; options => ... sets its options
WebApplication app = builder.Build();
app.MapGet("/", () => "Hello");
// README: end

// What the arena's statistics say while this request is answered: bytes in Kestrel's hands.
app.MapGet("/allocated", (ArenaMemoryPoolFactory pools) => pools.Arena.GetStatistics().AllocatedBytes);

// README: begin
app.Run();
// README: end
